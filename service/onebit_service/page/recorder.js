// Runs in the audio thread: collects 100 ms of the first channel and hands it over as 16-bit samples. Any message to it
// asks for what is left; an empty packet follows, as the last.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.packet = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
    this.ended = false;
    this.port.onmessage = () => {
      this.handOver();
      this.ended = true;
      this.port.postMessage(new ArrayBuffer(0));
    };
  }

  handOver() {
    if (this.filled) this.port.postMessage(this.packet.slice(0, this.filled).buffer);
    this.filled = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.packet[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.packet.length) this.handOver();
    }
    return !this.ended;
  }
}

registerProcessor("recorder", Recorder);
