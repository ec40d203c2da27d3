import { streamMicrophone } from "./stream.js";
import { addFinal, clearTranscript, offerTranscript, showPartial } from "./transcript.js";
import { Cancelled, uploadFile } from "./upload.js";

const WARNINGS = {
  truncated: "The file ends early; what is there was transcribed.",
  incomplete: "A part of the file cannot be read; the rest was transcribed.",
  other_tracks: "The file has more tracks than the one that was transcribed.",
  opposite_channels: "The channels would have cancelled each other; the louder ones were used.",
  channels_differ: "The joined files have different channels; a part may be missing.",
  max_seconds: "The longest stream was reached.",
};
// A voice is loud at this share of the loudest sample.
const LOUD = 0.25;

const element = (id) => document.getElementById(id);
const button = element("microphone");
const fileInput = element("file");
let stream = null;
let opening = false;

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

const headers = () => (element("key").value ? { Authorization: `Bearer ${element("key").value}` } : {});
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const chosenBits = () => Number(new FormData(element("controls")).get("bits"));
const chosenHotwords = () => element("hotwords").value.split(",").map((phrase) => phrase.trim()).filter(Boolean);
const told = (warnings) => warnings.map((code) => ` ${WARNINGS[code] ?? `Warning: ${code.replaceAll("_", " ")}.`}`).join("");

function showCost(seconds, processingSeconds) {
  element("computed").textContent = `${(processingSeconds * 1000).toFixed(0)} ms for ${seconds.toFixed(1)} s`;
  element("factor").textContent = processingSeconds ? `${(seconds / processingSeconds).toFixed(0)} × real time` : "–";
}

async function fetchState() {
  const state = await (await fetch("page/state")).json();
  element("resident-bytes").textContent = megabytes(state.resident_bytes);
  return state;
}

function offerPrecisions({ bits, default_bits: preferred, model_bytes: bytes }) {
  for (const choice of bits) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const size = document.createElement("small");
    Object.assign(input, { type: "radio", name: "bits", value: choice, checked: choice === preferred, className: "visually-hidden" });
    size.textContent = megabytes(bytes[choice]);
    label.append(input, `${choice} bit`, size);
    document.querySelector(".choices").append(label);
  }
}

// Nothing of what was heard before stays beside what comes now.
function begin(name, text) {
  clearTranscript(name);
  for (const id of ["lag", "computed", "factor"]) element(id).textContent = "–";
  say(text);
}

// The microphone

function showRecording(isOn) {
  document.body.classList.toggle("busy", isOn);
  button.setAttribute("aria-pressed", isOn);
  button.querySelector("span").textContent = isOn ? "Stop microphone" : "Start microphone";
  element("recording").hidden = !isOn;
  fileInput.disabled = isOn;
}

function showLevel(loudness, seconds) {
  element("level").style.setProperty("--loudness", `${(100 * Math.min(1, loudness / LOUD)).toFixed(0)}%`);
  element("elapsed").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

const handlers = {
  level: showLevel,
  ready: () => say("Listening."),
  partial(message, behind) {
    showPartial(message.text);
    element("lag").textContent = `${behind.toFixed(2)} s`;
  },
  final: addFinal,
  done(message) {
    showCost(message.duration_seconds, message.processing_seconds);
    say(`Done.${told(message.warnings)}`);
  },
  error: (message) => say(message.message, true),
  closed(code) {
    stream = null;
    showRecording(false);
    showPartial("");
    if (code !== 1000 && !element("status").classList.contains("error")) say(`The connection was closed (${code}).`, true);
    fetchState();
  },
};

async function startMicrophone() {
  begin(`microphone-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}`, "Waiting for the microphone.");
  if (!navigator.mediaDevices) {
    say("Browsers give the microphone to localhost or TLS only: start the server with --tls-cert and --tls-key.", true);
    return;
  }
  // Not `disabled`: that would take the keyboard's focus away.
  opening = true;
  try {
    stream = await streamMicrophone({
      bits: chosenBits(),
      hotwords: chosenHotwords(),
      key: element("key").value,
      on: handlers,
    });
    showRecording(true);
  } catch (error) {
    say(`No microphone: ${error.message}`, true);
  } finally {
    opening = false;
  }
}

button.addEventListener("click", () => {
  if (stream) {
    const stopping = stream;
    stream = { stop() {} };
    stopping.stop();
  } else if (!opening) {
    startMicrophone();
  }
});

// A file

function showSending(isOn) {
  document.body.classList.toggle("busy", isOn);
  element("upload").hidden = !isOn;
  button.disabled = fileInput.disabled = isOn;
}

function showUpload(name, share) {
  const progress = element("progress");
  if (share < 1) progress.value = share;
  else progress.removeAttribute("value");
  element("upload-label").textContent = share < 1 ? `Sending ${name}: ${Math.floor(100 * share)} %` : `Computing ${name}`;
}

async function transcribeFile(file) {
  begin(file.name.replace(/\.[^.]*$/, "") || "speech", `Transcribing ${file.name}.`);
  showUpload(file.name, 0);
  const { answer, cancel } = uploadFile({
    file,
    bits: chosenBits(),
    hotwords: chosenHotwords(),
    headers: headers(),
    onProgress: (share) => showUpload(file.name, share),
  });
  element("cancel").onclick = cancel;
  showSending(true);
  try {
    const { segments, text, duration_seconds: seconds, processing_seconds: computed, warnings } = await answer;
    segments.forEach(addFinal);
    showCost(seconds, computed);
    say(`${text ? "Done." : "Nothing was said."}${told(warnings)}`);
  } catch (error) {
    if (error instanceof Cancelled) say("Cancelled.");
    else say(error.message, true);
  } finally {
    showSending(false);
    fileInput.value = "";
    fileInput.focus();
    fetchState();
  }
}

fileInput.addEventListener("change", () => {
  if (fileInput.files.length) transcribeFile(fileInput.files[0]);
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file && !fileInput.disabled) transcribeFile(file);
});

// Enter in a field sends no form: there is nowhere to send it.
element("controls").addEventListener("submit", (event) => event.preventDefault());

offerTranscript(say, headers);
const state = await fetchState();
element("key-row").hidden = !state.needs_key;
offerPrecisions(state);
