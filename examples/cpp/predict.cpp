// Prints the probabilities of a photo, computed with OpenVINO, whose pip package contains what C++ needs:
//
//     pip install openvino
//     OV=$(python -c "import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent)")
//     g++ -std=c++17 -O2 -I$OV/include predict.cpp $OV/libs/libopenvino.so.* -Wl,-rpath,$OV/libs -o predict
//     ./predict model.onnx photo.ppm SIZE_PX CROP_FRACTION INTERPOLATION RESIZE PILLOW
//
// The last five are `preprocessing` and the major version of `versions.pillow` in the model file's description.

#include <iostream>
#include <openvino/openvino.hpp>

#include "ppm.hpp"

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "7 arguments are needed: see predict.cpp\n";
    return 2;
  }
  const headstart::Preprocessing settings = settings_of(argv + 3);
  headstart::Image input = headstart::preprocess(read_ppm(argv[2]), settings);
  const std::size_t side = settings.size_px;

  ov::Core core;
  ov::CompiledModel model =
      core.compile_model(argv[1], "CPU", ov::hint::inference_precision(ov::element::f32));
  ov::InferRequest request = model.create_infer_request();
  request.set_tensor("images", ov::Tensor(ov::element::u8, {1, side, side, 3}, input.pixels.data()));
  request.infer();
  const ov::Tensor probabilities = request.get_tensor("probabilities");
  for (std::size_t i = 0; i < probabilities.get_size(); ++i) {
    std::cout << probabilities.data<float>()[i] << "\n";
  }
}
