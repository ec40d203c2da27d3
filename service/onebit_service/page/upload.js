// One file to /transcribe. Not with fetch: it does not tell how far an upload is.

export class Cancelled extends Error {}

// `onProgress(share)` from 0 to 1. Returns { answer, cancel }: `answer` is a promise of the JSON answer, which is
// refused with Cancelled after `cancel()`, else with an Error that says why.
export function uploadFile({ file, bits, hotwords, headers, onProgress }) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 1);
    request.onload = () => {
      const { error, ...answer } = request.response ?? { error: { message: `The server answered ${request.status}.` } };
      if (error) reject(new Error(error.message));
      else resolve(answer);
    };
    request.onerror = () => reject(new Error("The connection to the server was lost."));
    request.onabort = () => reject(new Cancelled());
  });
  const query = new URLSearchParams({ bits, hotwords: hotwords.join(",") });
  request.open("POST", `transcribe?${query}`);
  request.responseType = "json";
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  const body = new FormData();
  body.append("file", file);
  request.send(body);
  return { answer, cancel: () => request.abort() };
}
