import { Refusal } from "./refusal.js";
import { session } from "./session.js";

/**
 * Sends one image to `POST /predict` as it is, and gives the answer. `progress` hears how much has gone out. An
 * XMLHttpRequest, because fetch does not tell how far an upload is.
 */
export function upload(file, { model, signal, progress }) {
  const query = new URLSearchParams({ top_k: 5, ...(model && { model }) });
  const form = new FormData();
  form.append("file", file, file.name || "pasted");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const { headers } = session;
    request.open("POST", `/predict?${query}`);
    request.responseType = "json";
    Object.entries(headers).forEach(([name, value]) => request.setRequestHeader(name, value));
    request.upload.onprogress = ({ loaded, total }) => progress(loaded / total);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200 && response?.success) resolve(response);
      else reject(Object.assign(Refusal.of(status, response, request.getResponseHeader("retry-after")), { headers }));
    };
    request.onerror = () => reject(Refusal.unreachable());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
