import { useEffect, useRef, useState } from "preact/hooks";

import { ErrorNote } from "./basics";

const SIZE = 320;

/** Show the camera; `onReady` receives a function that takes an image. */
export function Webcam({ onReady }: { onReady: (take: (() => Promise<Blob | null>) | undefined) => void }) {
  const video = useRef<HTMLVideoElement>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let stream: MediaStream | undefined;
    let isGone = false;
    const start = async () => {
      try {
        if (!navigator.mediaDevices) throw new Error("The camera needs HTTPS, or a page of localhost.");
        stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
        if (isGone) return stop(stream);
        if (!video.current) return;
        video.current.srcObject = stream;
        await video.current.play();
        onReady(() => taken(video.current));
      } catch (problem) {
        setError(problem instanceof Error && problem.name !== "NotAllowedError" ? problem.message : "The camera is not allowed.");
      }
    };
    void start();
    return () => {
      isGone = true;
      onReady(undefined);
      if (stream) stop(stream);
    };
  }, []);
  if (error) return <ErrorNote error={error} />;
  return <video ref={video} class="webcam" muted playsInline aria-label="Camera" />;
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** Return the square in the middle of the camera's image as JPEG. */
function taken(video: HTMLVideoElement | null): Promise<Blob | null> {
  if (!video?.videoWidth) return Promise.resolve(null);
  const side = Math.min(video.videoWidth, video.videoHeight);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const left = (video.videoWidth - side) / 2;
  canvas.getContext("2d")?.drawImage(video, left, (video.videoHeight - side) / 2, side, side, 0, 0, SIZE, SIZE);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}
