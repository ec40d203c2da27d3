import { streamMicrophone } from "./stream.js";

const element = (id) => document.getElementById(id);
const button = element("microphone");
let stream = null;
let opening = false;

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const chosenBits = () => Number(new FormData(element("controls")).get("bits"));
const chosenHotwords = () => element("hotwords").value.split(",").map((phrase) => phrase.trim()).filter(Boolean);
const headers = () => (element("key").value ? { Authorization: `Bearer ${element("key").value}` } : {});

function addFinal({ start, end, text }) {
  element("partial").textContent = "";
  if (!text) return;
  const row = document.createElement("li");
  const time = document.createElement("span");
  time.className = "time";
  time.textContent = `${clock(start)} – ${clock(end)}`;
  const words = document.createElement("span");
  words.textContent = text;
  row.append(time, words);
  element("finals").append(row);
}

function showCost(seconds, processingSeconds) {
  element("computed").textContent = `${(processingSeconds * 1000).toFixed(0)} ms for ${seconds.toFixed(1)} s`;
  element("factor").textContent = seconds ? (processingSeconds / seconds).toFixed(4) : "–";
}

async function showState() {
  const state = await (await fetch("page/state")).json();
  element("model-bytes").textContent = megabytes(state.model_bytes[chosenBits()]);
  element("resident-bytes").textContent = megabytes(state.resident_bytes);
  return state;
}

function offerPrecisions({ bits, default_bits: preferred, needs_key: needsKey }) {
  element("key-row").hidden = !needsKey;
  for (const choice of bits) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "bits", value: choice, checked: choice === preferred });
    label.append(input, ` ${choice}`);
    element("precisions").append(label);
  }
  element("precisions").addEventListener("change", () => showState());
}

function begin(text) {
  element("finals").replaceChildren();
  element("partial").textContent = "";
  element("lag").textContent = "–";
  say(text);
}

const handlers = {
  ready: () => say("Listening."),
  partial(message, behind) {
    element("partial").textContent = message.text;
    element("lag").textContent = `${behind.toFixed(2)} s`;
  },
  final: (message) => addFinal(message),
  done(message) {
    showCost(message.duration_seconds, message.processing_seconds);
    say(message.warnings.length ? `Done (${message.warnings.join(", ")}).` : "Done.");
  },
  error: (message) => say(message.message, true),
  closed(code) {
    stream = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Start microphone";
    if (code !== 1000 && !element("status").classList.contains("error")) say(`The connection was closed (${code}).`, true);
    showState();
  },
};

button.addEventListener("click", async () => {
  if (stream) {
    const stopping = stream;
    stream = { stop() {} };
    stopping.stop();
    return;
  }
  if (opening) return;
  begin("Waiting for the microphone.");
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
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Stop microphone";
  } catch (error) {
    say(`No microphone: ${error.message}`, true);
  } finally {
    opening = false;
  }
});

element("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  begin(`Transcribing ${file.name}.`);
  const body = new FormData();
  body.append("file", file);
  try {
    const query = new URLSearchParams({ bits: chosenBits(), hotwords: chosenHotwords().join(",") });
    const response = await fetch(`transcribe?${query}`, { method: "POST", body, headers: headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    answer.segments.forEach(addFinal);
    showCost(answer.duration_seconds, answer.processing_seconds);
    say(answer.text ? "Done." : "Nothing was said.");
  } catch (error) {
    say(error.message, true);
  }
  target.value = "";
  await showState();
});

offerPrecisions(await (await fetch("page/state")).json());
await showState();
