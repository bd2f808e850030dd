// Compares preprocessing.hpp with a test vector.
//
//     g++ -std=c++17 -O2 compare.cpp -o compare
//     convert VECTOR/decoded.png VECTOR/decoded.ppm
//     ./compare VECTOR/decoded.ppm VECTOR/pixels.bin SIZE_PX CROP_FRACTION INTERPOLATION RESIZE PILLOW
//
// The last five are `preprocessing` and the major version of `versions.pillow` in VECTOR/model.json.

#include <fstream>
#include <iostream>
#include <iterator>

#include "ppm.hpp"

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "7 arguments are needed: see compare.cpp\n";
    return 2;
  }
  const headstart::Image found = headstart::preprocess(read_ppm(argv[1]), settings_of(argv + 3));
  std::ifstream file(argv[2], std::ios::binary);
  const std::vector<char> wanted{std::istreambuf_iterator<char>(file), {}};
  if (wanted.size() != found.pixels.size()) {
    std::cerr << argv[2] << " has another size.\n";
    return 2;
  }
  std::size_t different = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) different += found.pixels[i] != std::uint8_t(wanted[i]);
  std::cout << different << " of " << wanted.size() << " bytes differ\n";
  return different == 0 ? 0 : 1;
}
