// A video becomes sentences: sent, watched, played with its subtitles, saved.

import { Refusal, ask, events, forget, send } from "./asking.js";
import { stayAwake } from "./awake.js";
import { showFrames, takeFrom } from "./frames.js";
import { keep, save } from "./saving.js";
import { clock, say, tell } from "./words.js";

const UNSURE = 0.5;
const TRIES = 5; // after a loss of the network, with pauses that double from a second on
const FORMS = { srt: "srt", vtt: "vtt", eaf: "eaf", json: "verbose_json" };
const $ = (id) => document.getElementById(id);

let limits = {};
let modelLanguage = "";
let going = null;
let shown = { name: "", texts: {}, address: "", sentences: [] };

export function prepare(models) {
  limits = models.limits;
  modelLanguage = models.data[0].language;
  say($("bounds"), "bounds", { megabytes: Math.floor(limits.max_bytes / 1e6), minutes: Math.floor(limits.max_seconds / 60) });
  $("file").addEventListener("change", () => { if ($("file").files[0]) translate($("file").files[0]); });
  $("cancel").addEventListener("click", () => going?.abort());
  $("clear").addEventListener("click", () => { clear(); $("file").focus(); });
  $("keep").addEventListener("click", () => keep(shown.name, shown.texts, $("status")));
  for (const button of document.querySelectorAll("[data-form]")) {
    button.addEventListener("click", () => save(shown.name, button.dataset.form, shown.texts[button.dataset.form]));
  }
  const drop = $("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // a file beside the place must not replace the page
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0] && !going) translate(event.dataTransfer.files[0]);
    });
  }
  $("player").addEventListener("timeupdate", mark);
  $("player").addEventListener("error", () => { $("unplayable").hidden = false; });
}

function clear() {
  if (shown.address) URL.revokeObjectURL(shown.address);
  takeFrom(null);
  $("player").removeAttribute("src");
  $("player").replaceChildren();
  $("player").load();
  $("sentences").replaceChildren();
  for (const id of ["result", "done", "nothing", "unplayable"]) $(id).hidden = true;
  for (const id of ["status", "problem"]) say($(id), null);
  $("file").value = "";
  shown = { name: "", texts: {}, address: "", sentences: [] };
}

async function translate(file) {
  clear();
  if (file.size > limits.max_bytes) {
    say($("problem"), "too_large", { found: Math.ceil(file.size / 1e6), most: Math.floor(limits.max_bytes / 1e6) });
    return;
  }
  going = new AbortController();
  const { signal } = going;
  const sleep = stayAwake();
  let job = null;
  let isOver = true; // else the server goes on, and keeps the result for a while
  const leave = () => { if (job) forget(job); };
  addEventListener("pagehide", leave);
  $("work").hidden = false;
  $("file").disabled = true;
  $("progress").value = 0;
  say($("status"), "sending", { percent: 0 });
  try {
    job = (await sendPatiently(file, signal)).id;
    open(file);
    await watch(job, signal);
    shown.texts = await patiently(() => textsOf(job, signal), signal);
    finish();
  } catch (error) {
    say($("status"), null);
    if (signal.aborted) say($("status"), "cancelled");
    else if (error instanceof Refusal) tell($("problem"), error.code, error.message);
    else {
      say($("problem"), "lost");
      isOver = false;
    }
  } finally {
    going = null;
    sleep();
    removeEventListener("pagehide", leave);
    if (isOver) leave();
    $("work").hidden = true;
    $("file").disabled = false;
    $("file").value = "";
  }
}

/** Send a file; while the queue is full, again when the server says. */
async function sendPatiently(file, signal) {
  for (;;) {
    try {
      let tenth = 0;
      return await send(file, (share) => {
        $("progress").value = 30 * share;
        if (Math.floor(10 * share) === tenth) return;
        tenth = Math.floor(10 * share); // not oftener: it is read aloud
        say($("status"), "sending", { percent: 10 * tenth });
      }, signal);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 429) throw error;
      say($("status"), "busy", { seconds: error.retry });
      await pause(error.retry, signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); failed(new DOMException("aborted", "AbortError")); });
  });
}

/** Do what asks the server; where the network is lost, again. `task` is given what says that it gets on. */
async function patiently(task, signal) {
  let tries = 0;
  for (;;) {
    try {
      return await task(() => { tries = 0; });
    } catch (error) {
      const isRefused = error instanceof Refusal && error.status < 502; // else a proxy's own words
      if (signal.aborted || isRefused || tries === TRIES) throw error;
      say($("status"), "again");
      await pause(2 ** tries, signal);
      tries += 1;
    }
  }
}

async function textsOf(job, signal) {
  return Object.fromEntries(await Promise.all(Object.entries(FORMS).map(async ([form, asked]) => {
    const answer = await ask(`/v1/jobs/${job}/result?response_format=${asked}`, { signal });
    return [form, await answer.text()];
  })));
}

/** Show the video at once, from the own disk; what a browser cannot play is still translated. */
function open(file) {
  shown.name = file.name;
  shown.address = URL.createObjectURL(file);
  $("player").src = shown.address;
  takeFrom(shown.address);
  $("sentences").lang = modelLanguage;
  $("result").hidden = false;
}

/** Show what comes, to the end; the server tells all of it again to who asks again. */
async function watch(job, signal) {
  let most = 0;
  await patiently(async (getsOn) => {
    let place = 0;
    for await (const event of listen(job, signal)) {
      if (event.type === "transcript.text.done") return;
      if (event.type !== "transcript.text.delta") continue;
      place += 1;
      if (place <= most) continue;
      most = place;
      getsOn();
      if (event.text) add(event);
    }
    throw new TypeError("network"); // the end is missing
  }, signal);
}

/** The events of a job; its progress is shown, its failure thrown. */
async function* listen(job, signal) {
  let tenth = -1;
  for await (const event of events(job, signal)) {
    yield event;
    if (event.type === "error") throw new Refusal(422, event.error?.code ?? "", event.error?.message ?? event.status, 0);
    if (event.type !== "progress") continue;
    $("progress").value = 30 + 70 * event.progress;
    const now = Math.floor(10 * event.progress);
    if (event.status === "waiting") say($("status"), "waiting");
    if (event.status === "running" && now !== tenth) { // not oftener: it is read aloud
      say($("status"), "running", { percent: 10 * now });
      tenth = now;
    }
  }
}

function add(event) {
  shown.sentences.push(event);
  const row = document.createElement("li");
  const jump = document.createElement("button");
  const time = document.createElement("span");
  const text = document.createElement("span");
  jump.type = "button";
  jump.className = "jump";
  time.className = "time";
  text.className = "text";
  time.textContent = `${clock(event.start)}\u2013${clock(event.end)}`;
  if (event.understood === false) say(text, "not_understood");
  else text.textContent = event.text;
  jump.append(time, text);
  jump.addEventListener("click", () => {
    $("player").currentTime = event.start;
    $("player").play().catch(() => {});
  });
  const sure = confidence(row, event);
  row.append(jump, sure);
  if (event.words?.length) {
    const [toggle, panel] = attention(event);
    sure.append(toggle);
    row.append(panel);
  }
  $("sentences").append(row);
}

function confidence(row, event) {
  const sure = document.createElement("div");
  const meter = document.createElement("meter");
  const told = document.createElement("span");
  const percent = Math.round(100 * event.confidence);
  sure.className = "sure";
  meter.value = event.confidence;
  meter.setAttribute("aria-hidden", "true");
  say(told, "confidence", { percent });
  sure.append(meter, told);
  if (event.confidence < UNSURE) {
    const doubt = document.createElement("span");
    doubt.className = "told";
    say(doubt, "unsure");
    row.className = "unsure";
    sure.append(doubt);
  }
  return sure;
}

/** A button that opens the words of a sentence, each of which shows its frames. */
function attention(event) {
  const toggle = document.createElement("button");
  const panel = document.createElement("div");
  const words = document.createElement("p");
  const frames = document.createElement("ul");
  toggle.type = "button";
  toggle.className = "plain";
  toggle.setAttribute("aria-expanded", "false");
  say(toggle, "words");
  panel.className = "words";
  panel.hidden = true;
  words.className = "buttons";
  frames.className = "frames";
  frames.tabIndex = 0;
  for (const word of event.words) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = word.word;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      for (const other of words.children) other.setAttribute("aria-pressed", String(other === button));
      showFrames(frames, event.frame_seconds, word.weights);
    });
    words.append(button);
  }
  toggle.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
  });
  panel.append(words, frames);
  return [toggle, panel];
}

function finish() {
  const count = shown.sentences.length;
  $("nothing").hidden = count > 0;
  $("done").hidden = false;
  say($("status"), count === 1 ? "one_finished" : "finished", { count });
  const track = document.createElement("track");
  track.kind = "subtitles";
  track.label = modelLanguage;
  track.srclang = modelLanguage;
  track.src = URL.createObjectURL(new Blob([shown.texts.vtt], { type: "text/vtt" }));
  track.addEventListener("load", () => URL.revokeObjectURL(track.src));
  $("player").append(track);
  track.track.mode = "showing"; // a new track is hidden
}

/** Mark the sentence that is being shown. */
function mark() {
  const now = $("player").currentTime;
  shown.sentences.forEach((sentence, place) => {
    const is = sentence.start <= now && now < sentence.end;
    $("sentences").children[place]?.setAttribute("aria-current", String(is));
  });
}
