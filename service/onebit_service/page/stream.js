// The microphone as an onebit.v1 stream (docs/streaming.md).

const LOWEST_RATE = 8000;
const HIGHEST_RATE = 48000;
const HAND_OVER_MILLISECONDS = 500;

function keyProtocol(key) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  return "key." + btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function openMicrophone(onPacket) {
  const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  let context = new AudioContext();
  if (context.sampleRate > HIGHEST_RATE || context.sampleRate < LOWEST_RATE) {
    await context.close();
    context = new AudioContext({ sampleRate: HIGHEST_RATE });
  }
  await context.audioWorklet.addModule("page/recorder.js");
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  let ended = null;
  const allHandedOver = new Promise((resolve) => (ended = resolve));
  recorder.port.onmessage = ({ data }) => (data.byteLength ? onPacket(data) : ended());
  context.createMediaStreamSource(media).connect(recorder);
  return {
    rate: context.sampleRate,
    // Resolves when the last packet, of less than 100 ms, was handed over.
    async finish() {
      recorder.port.postMessage("end");
      // A context that stands still answers nothing.
      await Promise.race([allHandedOver, new Promise((resolve) => setTimeout(resolve, HAND_OVER_MILLISECONDS))]);
    },
    async close() {
      for (const track of media.getTracks()) track.stop();
      if (context.state !== "closed") await context.close();
    },
  };
}

// Root mean square of 16-bit samples, of full scale.
function loudness(packet) {
  const samples = new Int16Array(packet);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length) / 32768;
}

// Calls `on.level(loudness, seconds)` for every packet of the microphone, `on[type](message, behindSeconds)` for every
// message and `on.closed(code)` once at the end.
export async function streamMicrophone({ bits, hotwords, key, on }) {
  let socket = null;
  let began = null;
  let heardSeconds = 0;
  const microphone = await openMicrophone((packet) => {
    heardSeconds += packet.byteLength / 2 / microphone.rate;
    on.level(loudness(packet), heardSeconds);
    if (socket?.readyState !== WebSocket.OPEN || !socket.ready) return;
    began ??= performance.now() - 100;
    socket.send(packet);
  });

  const url = new URL("stream", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(url, key ? ["onebit.v1", keyProtocol(key)] : ["onebit.v1"]);
  socket.onopen = () => socket.send(JSON.stringify({ type: "start", bits, hotwords, sample_rate: microphone.rate }));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "ready") socket.ready = true;
    const behind = began === null ? null : (performance.now() - began) / 1000 - (message.end ?? 0);
    on[message.type]?.(message, behind);
  };
  socket.onclose = ({ code }) => {
    microphone.close();
    on.closed(code);
  };
  return {
    async stop() {
      if (!socket.ready || socket.readyState !== WebSocket.OPEN) {
        socket.close();
        return;
      }
      await microphone.finish();
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "stop" }));
      microphone.close();
    },
  };
}
