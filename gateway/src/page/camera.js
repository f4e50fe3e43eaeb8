import { notify } from "./announce.js";
import { byId } from "./element.js";

/** A picture from the camera, where there is one and the page may use it (a secure address). */
export function offerCamera(askAll) {
  const [open, dialog, video] = [byId("camera-open"), byId("camera"), byId("camera-video")];
  if (!isSecureContext || !navigator.mediaDevices?.getUserMedia || !dialog.showModal) return;
  let stream = null;
  let facing = "environment";

  async function start() {
    stop();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing }, audio: false });
    } catch (error) {
      dialog.close();
      return notify(error.name === "NotAllowedError"
        ? "The browser did not allow the camera." : "The camera could not be opened.");
    }
    // Closed while the browser asked.
    if (!dialog.open) return stop();
    video.srcObject = stream;
    return undefined;
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
  }

  function take() {
    if (!video.videoWidth) return;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      if (blob) askAll([new File([blob], "camera.jpg", { type: blob.type })]);
    }, "image/jpeg", 0.92);
  }

  open.addEventListener("click", () => { dialog.showModal(); start(); });
  byId("camera-take").addEventListener("click", take);
  byId("camera-turn").addEventListener("click", () => {
    facing = facing === "environment" ? "user" : "environment";
    start();
  });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  showWhereItMakesSense(open);
}

/** A camera that nobody has is not offered; more than one can be turned. */
async function showWhereItMakesSense(open) {
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const cameras = devices.filter(({ kind }) => kind === "videoinput").length;
  open.hidden = cameras === 0;
  byId("camera-turn").hidden = cameras < 2;
}
