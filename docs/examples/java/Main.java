import com.google.protobuf.ByteString;
import com.headstart.v1.*;
import io.grpc.Channel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;

/**
 * Fine-tune on a folder of images, watch the job, predict, and handle a missing model.
 *
 * <p>{@code java Main localhost:8765 photos cat.jpg}: each folder in photos is a class, and each file an example.
 */
public final class Main {
  public static void main(String[] args) throws Exception {
    Channel channel = ManagedChannelBuilder.forTarget(args[0]).usePlaintext().build();
    String job = fineTune(channel, "pets", Path.of(args[1]));
    WatchRequest watch = WatchRequest.newBuilder().setJobId(job).build();
    FineTuningServiceGrpc.newBlockingStub(channel).watch(watch).forEachRemaining(response -> {
      if (response.hasEvent()) {
        System.out.println(response.getEvent().getState() + " " + response.getEvent().getProgress().getStep());
      }
    });

    Input image = Input.newBuilder().setImage(ByteString.readFrom(Files.newInputStream(Path.of(args[2])))).build();
    for (String model : List.of("pets", "missing")) {
      VersionSelector target = VersionSelector.newBuilder().setModel(model).build();
      PredictRequest request = PredictRequest.newBuilder().addTargets(target).addInputs(image).build();
      try {
        PredictResponse response = PredictionServiceGrpc.newBlockingStub(channel).predict(request);
        ClassProbability best = response.getResults(0).getPredictions(0).getClasses(0);
        System.out.printf("%s %.3f%n", best.getName(), best.getProbability());
      } catch (StatusRuntimeException error) {
        if (error.getStatus().getCode() != Status.Code.NOT_FOUND) throw error;
        System.out.println("not found: " + error.getStatus().getDescription());
      }
    }
    System.exit(0);
  }

  /** Sends every image of a folder of classes and returns the ID of the job. */
  private static String fineTune(Channel channel, String model, Path folder) throws Exception {
    CompletableFuture<FineTuneResponse> accepted = new CompletableFuture<>();
    StreamObserver<FineTuneRequest> requests = FineTuningServiceGrpc.newStub(channel).fineTune(
        new StreamObserver<FineTuneResponse>() {
          public void onNext(FineTuneResponse response) { accepted.complete(response); }
          public void onError(Throwable error) { accepted.completeExceptionally(error); }
          public void onCompleted() {}
        });
    requests.onNext(FineTuneRequest.newBuilder().setSpec(FineTuneSpec.newBuilder().setModel(model)).build());
    try (Stream<Path> files = Files.walk(folder).filter(Files::isRegularFile)) {
      for (Path file : (Iterable<Path>) files::iterator) {
        requests.onNext(FineTuneRequest.newBuilder().setExamples(ExampleBatch.newBuilder().addExamples(example(file))).build());
      }
    }
    requests.onCompleted();
    return accepted.get().getJob().getJobId();
  }

  private static Example example(Path file) throws IOException {
    String name = file.getParent().getFileName().toString();
    Label label = Label.newBuilder().setClassName(name).build();
    Input input = Input.newBuilder().setImage(ByteString.copyFrom(Files.readAllBytes(file))).build();
    return Example.newBuilder().setExampleId(name + "/" + file.getFileName()).setLabel(label).setInput(input).build();
  }
}
