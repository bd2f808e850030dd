import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OnnxValue;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.io.File;
import java.nio.ByteBuffer;
import java.util.Map;
import javax.imageio.ImageIO;

/**
 * Prints the outputs of a Headstart model for a photo. Needs com.microsoft.onnxruntime:onnxruntime from Maven.
 *
 * <pre>
 * javac -cp onnxruntime.jar *.java
 * java -cp onnxruntime.jar:. Predict model.onnx photo.png
 * </pre>
 */
public final class Predict {
  public static void main(String[] arguments) throws Exception {
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    try (OrtSession session = environment.createSession(arguments[0])) {
      String description = session.getMetadata().getCustomMetadataValue("headstart").orElseThrow();
      Preprocessing preprocessing = new Preprocessing(description);
      byte[] pixels = preprocessing.pixels(ImageIO.read(new File(arguments[1])));
      ByteBuffer buffer = ByteBuffer.allocateDirect(pixels.length).put(pixels);
      buffer.rewind();
      long[] shape = {1, preprocessing.sizePx, preprocessing.sizePx, 3};
      try (OnnxTensor images = OnnxTensor.createTensor(environment, buffer, shape, OnnxJavaType.UINT8);
          OrtSession.Result outputs = session.run(Map.of("images", images))) {
        for (Map.Entry<String, OnnxValue> output : outputs) {
          float[] values = ((float[][]) output.getValue().getValue())[0];
          System.out.println(output.getKey() + " " + java.util.Arrays.toString(values));
        }
      }
    }
  }
}
