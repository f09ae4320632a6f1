// Live captions: small frames of the webcam go to the server, text comes back.

import { token } from "./asking.js";
import { stayAwake } from "./awake.js";
import { view } from "./pixels.js";
import { keep, save } from "./saving.js";
import { clock, number, say, t, tell } from "./words.js";

const PERIOD = 80; // milliseconds from frame to frame: 12.5 a second
const MOST_WAITING = 3; // frames that the network has not taken; a further one is left out
const UNSURE = Math.log(0.5); // mean log-probability
const WITHOUT = { NotAllowedError: "camera_denied", NotFoundError: "camera_none", NotReadableError: "camera_taken" };
const $ = (id) => document.getElementById(id);

let session = null;
let rows = []; // of all sessions, until they are cleared
let origin = null; // when the first of them began
let modelLanguage = "";

export function prepare(model) {
  modelLanguage = model.language;
  $("captions").lang = modelLanguage;
  $("webcam").hidden = model.input !== "video";
  $("start").addEventListener("click", start);
  $("stop").addEventListener("click", () => session?.stop());
  $("live-save").addEventListener("click", () => save(t("live_name"), "vtt", asVtt()));
  $("live-keep").addEventListener("click", () => keep(t("live_name"), { vtt: asVtt() }, $("live-status")));
  $("live-clear").addEventListener("click", () => {
    $("captions").replaceChildren();
    rows = [];
    origin = null;
    enable();
    $("start").focus();
  });
  addEventListener("pagehide", () => session?.end());
}

/** The captions that say something. */
function captions() {
  return rows.filter((row) => row.text);
}

function enable() {
  const none = !captions().length;
  $("live-save").disabled = $("live-keep").disabled = none;
  $("live-clear").disabled = none || !(session?.finished ?? true);
}

async function start() {
  say($("live-problem"), null);
  $("start").disabled = true;
  let stream;
  try {
    if (!navigator.mediaDevices) throw new Error(t("needs_https"));
    stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: 640, height: 480, frameRate: { ideal: 25 } } });
  } catch (error) {
    say($("live-problem"), WITHOUT[error.name] ?? "no_camera", { message: error.message });
    $("start").disabled = false;
    return;
  }
  session = new Session(stream);
  enable();
}

class Session {
  constructor(stream) {
    this.stream = stream;
    this.rows = new Map();
    this.sleep = stayAwake();
    $("stop").disabled = false;
    $("stop").focus();
    $("camera").srcObject = stream;
    $("camera").hidden = false;
    $("camera").play().catch(() => {});
    stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    const address = new URL("/v1/live", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify({ type: "start", token: token() })));
    this.socket.addEventListener("message", (event) => this.hear(JSON.parse(event.data)));
    this.socket.addEventListener("close", () => this.end());
  }

  hear(message) {
    if (message.type === "ready") this.begin(message.side);
    if (message.type === "caption") this.caption(message);
    if (message.type === "frame") this.late(message);
    if (message.type === "end") this.ended = true;
    if (message.type === "error") {
      tell($("live-problem"), message.error.code, message.error.message);
      this.ended = true;
    }
  }

  begin(side) {
    this.bytes = new ArrayBuffer(8 + side * side * 3);
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.began = performance.now();
    origin ??= this.began;
    this.timer = setInterval(() => this.frame(side), PERIOD);
    $("delay").hidden = false;
    say($("live-status"), "live_on");
    $("webcam").scrollIntoView({ block: "start" });
  }

  frame(side) {
    const video = $("camera");
    if (this.socket.readyState !== WebSocket.OPEN || video.readyState < 2) return;
    if (this.socket.bufferedAmount > MOST_WAITING * this.bytes.byteLength) return;
    const { videoWidth: width, videoHeight: height } = video;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.context.drawImage(video, 0, 0);
    // Not by the canvas: not every browser averages, and what leaves pixels out flickers.
    const { data } = this.context.getImageData(0, 0, width, height);
    new Uint8Array(this.bytes, 8).set(view(data, width, height, side, side));
    new DataView(this.bytes).setFloat64(0, (performance.now() - this.began) / 1000, true);
    this.socket.send(this.bytes);
  }

  late(message) {
    const seconds = (performance.now() - this.began) / 1000 - message.seconds;
    this.delay = this.delay === undefined ? seconds : 0.8 * this.delay + 0.2 * seconds;
    const told = t("seconds", { seconds: number(Math.max(this.delay, 0), 1) });
    if ($("latency").textContent !== told) $("latency").textContent = told;
  }

  /** Committed text is only ever added to; what may change stands behind it. */
  caption(message) {
    let row = this.rows.get(message.sentence);
    if (!row) {
      const line = document.createElement("p");
      const committed = document.createElement("span");
      const uncommitted = document.createElement("span");
      committed.className = "committed";
      uncommitted.className = "uncommitted";
      uncommitted.setAttribute("aria-hidden", "true"); // not read aloud while it changes
      line.append(committed, uncommitted);
      $("captions").append(line);
      row = { line, committed, uncommitted, text: "" };
      this.rows.set(message.sentence, row);
      rows.push(row);
    }
    if (message.committed.startsWith(row.text)) {
      const added = message.committed.slice(row.text.length);
      if (added) row.committed.append(added);
      row.text = message.committed;
    }
    row.uncommitted.textContent = message.uncommitted;
    const before = (this.began - origin) / 1000;
    row.start = before + message.start;
    row.end = before + (message.end ?? message.start);
    if (message.closed && !row.text) { // nothing was said: its number is that of the next
      row.line.remove();
      this.rows.delete(message.sentence);
    }
    if (message.closed) row.line.classList.toggle("unsure", message.score < UNSURE);
    const box = $("captions");
    box.scrollTop = box.scrollHeight;
    enable();
  }

  /** Stop the camera; the text of the last sentence still comes. */
  stop() {
    if (this.finished) return;
    this.rest();
    say($("live-status"), "live_ending");
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "stop" }));
    else this.end();
    setTimeout(() => this.end(), 15000);
  }

  rest() {
    clearInterval(this.timer);
    for (const track of this.stream.getTracks()) track.stop();
    $("camera").srcObject = null;
    $("camera").hidden = true;
    $("stop").disabled = true;
  }

  end() {
    if (this.finished) return;
    this.finished = true;
    this.rest();
    this.socket.close();
    this.sleep();
    if (!this.ended) say($("live-problem"), "lost");
    say($("live-status"), "live_off");
    for (const row of this.rows.values()) row.uncommitted.textContent = "";
    $("delay").hidden = true;
    enable();
    $("start").disabled = false;
    $("start").focus();
  }
}

function asVtt() {
  const time = (seconds) => `${String(Math.floor(seconds / 3600)).padStart(2, "0")}:${clock(seconds % 3600).padStart(5, "0")}.${String(Math.floor((seconds % 1) * 1000)).padStart(3, "0")}`;
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cues = captions().map((row) => `${time(row.start)} --> ${time(Math.max(row.end, row.start + 1))}\n${escaped(row.text)}\n\n`);
  return `WEBVTT\n\n${cues.join("")}`;
}
