import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.DoubleUnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;

/**
 * Converts a photo to the pixels that a Headstart model gets, with the same bytes as in Python. Needs only the JDK.
 *
 * <p>{@code java Preprocessing.java VECTOR} compares with a test vector, which
 * {@code headstart export RUN --to test-vector --out VECTOR} writes.
 */
public final class Preprocessing {
  private static final int PRECISION_BITS = 22;
  private static final int GREY = 128;

  final int sizePx;
  final double cropFraction;
  final String interpolation;
  final String resize;
  final int pillow;

  /** Read the settings from the description in a model file: its metadata {@code headstart}, or model.json. */
  Preprocessing(String description) {
    sizePx = Integer.parseInt(find(description, "size_px", "(\\d+)"));
    cropFraction = Double.parseDouble(find(description, "crop_fraction", "([0-9.e+-]+)"));
    interpolation = find(description, "interpolation", "\"(\\w+)\"");
    resize = find(description, "resize", "\"(\\w+)\"");
    pillow = Integer.parseInt(find(description, "pillow", "\"(\\d+)"));
  }

  // A program with a JSON library should use that.
  private static String find(String json, String key, String value) {
    Matcher found = Pattern.compile("\"" + key + "\":\\s*" + value).matcher(json);
    if (!found.find()) {
      throw new IllegalArgumentException("The description has no " + key + ".");
    }
    return found.group(1);
  }

  /** Return sizePx × sizePx × 3 bytes of an upright photo in sRGB: rows of pixels of red, green and blue. */
  byte[] pixels(BufferedImage photo) {
    int width = photo.getWidth();
    int height = photo.getHeight();
    double[] box = {0, 0, width, height};
    int columns = sizePx;
    int rows = sizePx;
    if (resize.equals("crop")) {
      double side = cropFraction * Math.min(width, height);
      box = new double[] {(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2};
    } else if (resize.equals("pad")) {
      double scale = (double) sizePx / Math.max(width, height);
      columns = Math.max(1, (int) Math.rint(scale * width)); // rint rounds halves to even, as Python does
      rows = Math.max(1, (int) Math.rint(scale * height));
    }
    byte[] content = resized(rgb(photo), width, height, box, columns, rows);
    if (columns == sizePx && rows == sizePx) {
      return content;
    }
    byte[] canvas = new byte[sizePx * sizePx * 3];
    java.util.Arrays.fill(canvas, (byte) GREY);
    int left = (sizePx - columns) / 2;
    int top = (sizePx - rows) / 2;
    for (int row = 0; row < rows; row++) {
      System.arraycopy(content, row * columns * 3, canvas, ((top + row) * sizePx + left) * 3, columns * 3);
    }
    return canvas;
  }

  /** Return the bytes of a photo, on white where it is transparent. */
  private static byte[] rgb(BufferedImage photo) {
    if (photo.getType() == BufferedImage.TYPE_BYTE_GRAY) {
      return grey(photo); // getRGB would take its levels for linear light, and return brighter ones
    }
    BufferedImage opaque = photo;
    if (photo.getColorModel().hasAlpha()) {
      opaque = new BufferedImage(photo.getWidth(), photo.getHeight(), BufferedImage.TYPE_INT_RGB);
      Graphics2D graphics = opaque.createGraphics();
      graphics.drawImage(photo, 0, 0, Color.WHITE, null);
      graphics.dispose();
    }
    int[] values = opaque.getRGB(0, 0, photo.getWidth(), photo.getHeight(), null, 0, photo.getWidth());
    byte[] bytes = new byte[3 * values.length];
    for (int i = 0; i < values.length; i++) {
      bytes[3 * i] = (byte) (values[i] >> 16);
      bytes[3 * i + 1] = (byte) (values[i] >> 8);
      bytes[3 * i + 2] = (byte) values[i];
    }
    return bytes;
  }

  private static byte[] grey(BufferedImage photo) {
    int width = photo.getWidth();
    byte[] bytes = new byte[3 * width * photo.getHeight()];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) photo.getRaster().getSample(i / 3 % width, i / 3 / width, 0);
    }
    return bytes;
  }

  private byte[] resized(byte[] photo, int width, int height, double[] box, int columns, int rows) {
    Axis across = new Axis(width, (float) box[0], (float) box[2], columns, interpolation);
    Axis down = new Axis(height, (float) box[1], (float) box[3], rows, interpolation);
    int removed = height - rows;
    if (pillow >= 13 && removed > 0 && removed > 2 * (width - columns)) {
      return across.apply(down.apply(photo, 3 * width, 3, width, true), 3, 3 * width, rows, false);
    }
    return down.apply(across.apply(photo, 3, 3 * width, height, false), 3 * columns, 3, columns, true);
  }

  /** One axis of a resampling: which pixels each pixel of the result reads, and their weights times 2^22. */
  private static final class Axis {
    final int[] first;
    final int[][] weights;

    Axis(int size, float start, float end, int count, String filter) {
      double scale = (double) (end - start) / count;
      double widening = Math.max(1, scale);
      double support = widening * support(filter);
      DoubleUnaryOperator weight = weight(filter);
      first = new int[count];
      weights = new int[count][];
      for (int index = 0; index < count; index++) {
        double centre = start + (index + 0.5) * scale;
        first[index] = Math.max(0, (int) (centre - support + 0.5));
        double[] exact = new double[Math.min(size, (int) (centre + support + 0.5)) - first[index]];
        double sum = 0;
        for (int k = 0; k < exact.length; k++) {
          exact[k] = weight.applyAsDouble((k + first[index] - centre + 0.5) * (1 / widening));
          sum += exact[k];
        }
        weights[index] = new int[exact.length];
        for (int k = 0; k < exact.length; k++) {
          double fixed = exact[k] / sum * (1 << PRECISION_BITS);
          weights[index][k] = (int) (fixed < 0 ? fixed - 0.5 : fixed + 0.5);
        }
      }
    }

    /**
     * Resample lines of RGB pixels.
     *
     * @param along Bytes between neighbouring pixels along the axis.
     * @param across Bytes between lines.
     * @param isDown Whether lines are columns, which lie side by side.
     */
    byte[] apply(byte[] source, int along, int across, int lines, boolean isDown) {
      int count = first.length;
      byte[] target = new byte[count * lines * 3];
      for (int index = 0; index < count; index++) {
        for (int line = 0; line < lines; line++) {
          int at = 3 * (isDown ? index * lines + line : line * count + index);
          for (int channel = 0; channel < 3; channel++) {
            int sum = 1 << (PRECISION_BITS - 1);
            int from = line * across + first[index] * along + channel;
            for (int weight : weights[index]) {
              sum += (source[from] & 255) * weight;
              from += along;
            }
            target[at + channel] = (byte) Math.max(0, Math.min(255, sum >> PRECISION_BITS));
          }
        }
      }
      return target;
    }

    private static double support(String filter) {
      switch (filter) {
        case "bilinear": return 1;
        case "bicubic": return 2;
        case "lanczos": return 3;
        default: throw new IllegalArgumentException("This example has no filter " + filter + ".");
      }
    }

    private static DoubleUnaryOperator weight(String filter) {
      switch (filter) {
        case "bilinear": return x -> Math.max(0, 1 - Math.abs(x));
        case "bicubic": return Axis::bicubic;
        default: return x -> x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
      }
    }

    private static double bicubic(double x) {
      double a = -0.5;
      double d = Math.abs(x);
      if (d < 1) {
        return ((a + 2) * d - (a + 3)) * d * d + 1;
      }
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    }

    private static double sinc(double x) {
      return x == 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
    }
  }

  public static void main(String[] arguments) throws IOException {
    Path vector = Path.of(arguments[0]);
    Preprocessing preprocessing = new Preprocessing(Files.readString(vector.resolve("model.json")));
    BufferedImage decoded = ImageIO.read(new File(arguments[0], "decoded.png"));
    byte[] found = preprocessing.pixels(decoded);
    byte[] wanted = Files.readAllBytes(vector.resolve("pixels.bin"));
    int different = 0;
    for (int i = 0; i < wanted.length; i++) {
      different += found[i] == wanted[i] ? 0 : 1;
    }
    System.out.println(different + " of " + wanted.length + " bytes differ");
    System.exit(different == 0 ? 0 : 1);
  }
}
