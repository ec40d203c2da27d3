// The text on the page: what is being heard, what is written, and ways to take it along.

const COPIED_MILLISECONDS = 2000;

const element = (id) => document.getElementById(id);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

let name = "";
let segments = [];

function showTools() {
  for (const button of document.querySelectorAll(".tools button")) button.disabled = !segments.length;
}

// `newName` is what a download will be called.
export function clearTranscript(newName) {
  name = newName;
  segments = [];
  element("finals").replaceChildren();
  element("empty").hidden = true;
  showPartial("");
  showTools();
}

export function showPartial(text) {
  const partial = element("partial");
  const words = document.createElement("span");
  words.textContent = text;
  partial.replaceChildren(...(text ? [words] : []));
  if (text) partial.scrollIntoView({ block: "nearest" });
}

export function addFinal(segment) {
  showPartial("");
  if (!segment.text) return;
  segments.push(segment);
  const row = document.createElement("li");
  const time = document.createElement("span");
  time.className = "time";
  time.textContent = `${clock(segment.start)} – ${clock(segment.end)}`;
  const words = document.createElement("span");
  words.textContent = segment.text;
  row.append(time, words);
  element("finals").append(row);
  showTools();
}

// Browsers give the clipboard's interface to secure origins only; a selection can be copied anywhere.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("the browser does not allow it");
}

const plainText = () => segments.map(({ text }) => `${text}\n`).join("");

// The server cuts cues, as it does for files: it knows where a reader wants them to end.
async function subtitles(format, headers) {
  const body = JSON.stringify({ segments: segments.map(({ words }) => ({ words: words ?? [] })) });
  const response = await fetch(`page/subtitles/${format}`, { method: "POST", body, headers });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response.text();
}

function save(text, format) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `${name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), COPIED_MILLISECONDS);
}

// `say(text, isError)` tells how it went; `headers()` are those of a request to the server.
export function offerTranscript(say, headers) {
  const copy = element("copy");
  copy.addEventListener("click", async () => {
    try {
      await copyText(plainText());
      copy.textContent = "Copied";
      say("Copied.");
      setTimeout(() => (copy.textContent = "Copy"), COPIED_MILLISECONDS);
    } catch (error) {
      say(`Not copied: ${error.message}`, true);
    }
    copy.focus();
  });
  for (const button of document.querySelectorAll("[data-download]")) {
    const format = button.dataset.download;
    button.addEventListener("click", async () => {
      try {
        save(format === "txt" ? plainText() : await subtitles(format, headers()), format);
      } catch (error) {
        say(`Not downloaded: ${error.message}`, true);
      }
    });
  }
}
