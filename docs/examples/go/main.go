// Fine-tune on a folder of images, watch the job, predict, and handle a missing model.
//
//	go run . localhost:8765 photos cat.jpg
//
// Every folder in photos is a class, and every file in it is an example.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "headstart/v1"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	ctx := context.Background()
	jobs := pb.NewFineTuningServiceClient(connection)

	job := fineTune(ctx, jobs, "pets", os.Args[2])
	events, err := jobs.Watch(ctx, &pb.WatchRequest{JobId: job})
	check(err)
	for response, err := events.Recv(); !errors.Is(err, io.EOF); response, err = events.Recv() {
		check(err)
		if event := response.Event; event != nil {
			fmt.Println(event.State, event.GetProgress().GetStep())
		}
	}

	image, err := os.ReadFile(os.Args[3])
	check(err)
	for _, model := range []string{"pets", "missing"} {
		answer, err := pb.NewPredictionServiceClient(connection).Predict(ctx, &pb.PredictRequest{
			Targets: []*pb.VersionSelector{{Model: model}},
			Inputs: []*pb.Input{{Content: &pb.Input_Image{Image: image}}},
		})
		if status.Code(err) == codes.NotFound {
			fmt.Println("not found:", status.Convert(err).Message())
			continue
		}
		check(err)
		best := answer.Results[0].Predictions[0].Classes[0]
		fmt.Printf("%s %.3f\n", best.Name, best.Probability)
	}
}

// fineTune sends every image of a folder of classes and returns the ID of the job.
func fineTune(ctx context.Context, jobs pb.FineTuningServiceClient, model, folder string) string {
	stream, err := jobs.FineTune(ctx)
	check(err)
	spec := &pb.FineTuneSpec{Model: model}
	check(stream.Send(&pb.FineTuneRequest{Part: &pb.FineTuneRequest_Spec{Spec: spec}}))
	files, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	check(err)
	for _, file := range files {
		image, err := os.ReadFile(file)
		check(err)
		example := &pb.Example{
			ExampleId: file,
			Label:     &pb.Label{Value: &pb.Label_ClassName{ClassName: filepath.Base(filepath.Dir(file))}},
			Input:     &pb.Input{Content: &pb.Input_Image{Image: image}},
		}
		batch := &pb.ExampleBatch{Examples: []*pb.Example{example}}
		err = stream.Send(&pb.FineTuneRequest{Part: &pb.FineTuneRequest_Examples{Examples: batch}})
		if err != nil {
			break // The server ended the stream: CloseAndRecv returns its error.
		}
	}
	response, err := stream.CloseAndRecv()
	check(err)
	return response.Job.JobId
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
