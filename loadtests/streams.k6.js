// Streams in real time with k6. One command, bounded in time and number:
//
//   python -m loadtests.speech clips
//   k6 run -e CLIP=clips/0.s16le -e STREAMS=20 -e SECONDS=60 -e BITS=1 -e PACKET_MS=100 loadtests/streams.k6.js
//
// (CLIP is relative to this file, as k6's open() wants it: -e CLIP=../clips/0.s16le.) The run fails when the 95th
// percentile of final texts is above BOUND_MS (500) or a stream gets no end. CORES, where given, divides the streams.
import { check } from "k6";
import ws from "k6/ws";
import { Counter, Trend } from "k6/metrics";

const BITS = Number(__ENV.BITS || 1);
const PACKET_MS = Number(__ENV.PACKET_MS || 100);
const STREAMS = Number(__ENV.STREAMS || 20);
const SECONDS = Number(__ENV.SECONDS || 60);
const BOUND_MS = Number(__ENV.BOUND_MS || 500);
const URL = __ENV.URL || "ws://127.0.0.1:8000/stream";
const ANSWER_MS = 30000;
const BYTES_PER_MS = 32;

if (!/^ws:\/\/(127\.\d+\.\d+\.\d+|localhost|\[::1\])[:/]/.test(URL)) {
  throw new Error(`${URL}: load is sent to loopback addresses only`);
}

const clip = open(__ENV.CLIP || "../clips/0.s16le", "b");
const finalLatency = new Trend("final_latency", true);
const finished = new Counter("streams_finished");
const lost = new Counter("streams_lost");

export const options = {
  scenarios: {
    streams: { executor: "constant-vus", vus: STREAMS, duration: `${SECONDS}s`, gracefulStop: "60s" },
  },
  thresholds: {
    final_latency: [`p(95)<${BOUND_MS}`],
    streams_lost: ["count==0"],
  },
};

export default function () {
  let stoppedAt = 0;
  let answered = false;
  let done = false;

  const response = ws.connect(URL, { headers: { "Sec-WebSocket-Protocol": "onebit.v1" } }, (socket) => {
    socket.on("open", () => {
      socket.send(JSON.stringify({ type: "start", bits: BITS }));
      speak(socket, () => {
        stoppedAt = Date.now();
      });
    });
    socket.on("message", (text) => {
      const message = JSON.parse(text);
      if (stoppedAt && !answered && (message.type === "final" || message.type === "done")) {
        answered = true;
        finalLatency.add(Date.now() - stoppedAt);
      }
      if (message.type === "done") {
        done = true;
        socket.close();
      } else if (message.type === "error") {
        socket.close();
      }
    });
    socket.setTimeout(() => socket.close(), clip.byteLength / BYTES_PER_MS + ANSWER_MS);
  });

  check(response, { "handshake answered with 101": (r) => r && r.status === 101 });
  (done && answered ? finished : lost).add(1);
}

// Each packet when its audio would have been recorded; what a late timer missed is caught up with.
function speak(socket, onStop) {
  const size = PACKET_MS * BYTES_PER_MS;
  const begin = Date.now();
  let sent = 0;
  let stopped = false;
  socket.setInterval(() => {
    while (sent < clip.byteLength && (sent / size + 1) * PACKET_MS <= Date.now() - begin) {
      socket.sendBinary(clip.slice(sent, sent + size));
      sent += size;
    }
    if (sent >= clip.byteLength && !stopped) {
      stopped = true;
      onStop();
      socket.send(JSON.stringify({ type: "stop" }));
    }
  }, Math.max(5, PACKET_MS / 2));
}

export function handleSummary(data) {
  const value = (metric, name) => (data.metrics[metric] ? data.metrics[metric].values[name] : 0);
  const cores = Number(__ENV.CORES || 0);
  const kept = value("final_latency", "p(95)") < BOUND_MS && !value("streams_lost", "count");
  const carried = kept ? STREAMS : 0;
  const perCore = cores ? `, ${(carried / cores).toFixed(1)} per core` : "";
  return {
    stdout:
      `${carried} streams carried within ${BOUND_MS} ms${perCore}: final texts p95 ` +
      `${value("final_latency", "p(95)").toFixed(0)} ms, ${value("streams_finished", "count")} finished, ` +
      `${value("streams_lost", "count")} lost\n`,
  };
}
