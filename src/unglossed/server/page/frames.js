// The frames that a word attended to: drawn from the page's own copy of the video.

import { clock, say } from "./words.js";

const SHOWN = 6;
const HEIGHT = 160;

let copy = null;
let turn = Promise.resolve();

/** Frames are taken from this video from now on; null: from none. */
export function takeFrom(address) {
  copy?.removeAttribute("src");
  copy = null;
  if (!address) return;
  copy = document.createElement("video");
  copy.muted = copy.playsInline = true;
  copy.preload = "auto";
  copy.src = address;
}

/** Show the frames with the largest weights in a list, in the order of time. */
export function showFrames(list, seconds, weights) {
  const order = weights.map((weight, place) => ({ weight, time: seconds[place] ?? 0 }));
  order.sort((a, b) => b.weight - a.weight);
  const most = order[0]?.weight || 1;
  const chosen = order.slice(0, SHOWN).sort((a, b) => a.time - b.time);
  list.replaceChildren();
  for (const { weight, time } of chosen) {
    const row = document.createElement("li");
    const canvas = document.createElement("canvas");
    const bar = document.createElement("span");
    const told = document.createElement("span");
    canvas.setAttribute("aria-hidden", "true");
    canvas.height = HEIGHT;
    canvas.width = HEIGHT;
    bar.className = "bar";
    bar.style.width = `${Math.max(4, (100 * weight) / most)}%`;
    say(told, "frame", { time: clock(time), percent: Math.round(100 * weight) });
    row.append(canvas, bar, told);
    list.append(row);
    turn = turn.then(() => draw(canvas, time)).catch(() => {});
  }
}

async function draw(canvas, time) {
  const video = copy;
  if (!video || !canvas.isConnected) return;
  if (video.readyState < 2) {
    const loaded = happens(video, "loadeddata");
    video.play().catch(() => {}); // iOS loads no picture before
    await loaded;
    video.pause();
  }
  // A little later than its begin, or rounding shows the frame before.
  const wanted = Math.min(time + 0.01, Math.max(0, video.duration - 0.01));
  if (video.currentTime !== wanted) {
    const seeked = happens(video, "seeked");
    video.currentTime = wanted;
    await seeked;
  }
  canvas.width = Math.round((HEIGHT * video.videoWidth) / video.videoHeight) || HEIGHT;
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  canvas.dataset.drawn = "true";
}

function happens(video, name) {
  return new Promise((done, failed) => {
    const timer = setTimeout(() => failed(new Error(name)), 5000);
    video.addEventListener(name, () => { clearTimeout(timer); done(); }, { once: true });
    video.addEventListener("error", () => { clearTimeout(timer); failed(new Error("error")); }, { once: true });
  });
}
