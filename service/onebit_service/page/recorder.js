// Runs in the audio thread: collects 100 ms of the first channel and hands it over as 16-bit samples.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.packet = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.packet[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.packet.length) {
        this.port.postMessage(this.packet.slice().buffer);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
