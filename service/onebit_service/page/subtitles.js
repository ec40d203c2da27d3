// Segments of words as subtitles, cut as the server cuts them (docs/http.md).

const LINE_CHARACTERS = 42;
const CUE_CHARACTERS = 84;
const CUE_SECONDS = 7;
const CUE_PAUSE_SECONDS = 1;

function fits(cue, word) {
  const characters = cue.reduce((sum, { word: text }) => sum + text.length + 1, word.word.length);
  const pause = word.start - cue.at(-1).end;
  return characters <= CUE_CHARACTERS && word.end - cue[0].start <= CUE_SECONDS && pause <= CUE_PAUSE_SECONDS;
}

// Segments ({ start, end, text, words }) to cues ({ start, end, text }).
function cuesOf(segments) {
  const cues = [];
  for (const segment of segments) {
    if (!segment.words?.length) {
      cues.push(segment);
      continue;
    }
    let cue = [];
    const close = () => cues.push({ start: cue[0].start, end: cue.at(-1).end, text: cue.map(({ word }) => word).join(" ") });
    for (const word of segment.words) {
      if (cue.length && !fits(cue, word)) {
        close();
        cue = [];
      }
      cue.push(word);
    }
    close();
  }
  return cues;
}

// At a space, into lines of about one length: two short lines are read faster than a long and a tiny one.
function wrapped(text) {
  if (text.length <= LINE_CHARACTERS) return text;
  const middle = text.length / 2;
  const spaces = [...text.matchAll(/ /g)].map(({ index }) => index);
  if (!spaces.length) return text;
  const cut = spaces.reduce((best, at) => (Math.abs(at - middle) < Math.abs(best - middle) ? at : best));
  return `${text.slice(0, cut)}\n${text.slice(cut + 1)}`;
}

function clock(seconds, separator) {
  const milliseconds = Math.round(seconds * 1000);
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const [hours, minutes] = [Math.floor(milliseconds / 3_600_000), Math.floor(milliseconds / 60_000) % 60];
  return `${pad(hours)}:${pad(minutes)}:${pad(Math.floor(milliseconds / 1000) % 60)}${separator}${pad(milliseconds % 1000, 3)}`;
}

const span = ({ start, end }, separator) => `${clock(start, separator)} --> ${clock(end, separator)}`;

export const FORMATS = {
  txt: { type: "text/plain", write: (segments) => segments.map(({ text }) => `${text}\n`).join("") },
  srt: {
    type: "application/x-subrip",
    write: (segments) => cuesOf(segments).map((cue, index) => `${index + 1}\n${span(cue, ",")}\n${wrapped(cue.text)}\n\n`).join(""),
  },
  vtt: {
    type: "text/vtt",
    write: (segments) => `WEBVTT\n\n${cuesOf(segments).map((cue) => `${span(cue, ".")}\n${wrapped(cue.text)}\n\n`).join("")}`,
  },
};
