// The page: what is shown, and what its buttons do.

import { Engine } from "./engine.js";
import { Camera, framesOfFile } from "./media.js";
import { subRip, time } from "./subtitles.js";
import { WORDS } from "./words.js";

const GRID = 25;

const at = (id) => document.getElementById(id);
const video = at("video");
const state = {
  language: "en",
  saying: null,
  manifest: null,
  provider: null,
  busy: true,
  reading: null, // aborts when a file that is read is no longer wanted
  notes: [],
  sentences: [],
};
const engine = new Engine(
  (share) => {
    at("progress").value = share;
    say(share < 1 ? "loading" : "checking", Math.round(100 * share));
  },
  (sentence) => {
    state.sentences.push(sentence);
    at("sentences").append(itemOf(sentence));
  },
);
const camera = new Camera(video);

/** The words of a key in the chosen language. */
function words(key, ...values) {
  const found = WORDS[state.language][key];
  return typeof found === "function" ? found(...values) : found;
}

function say(key, ...values) {
  state.saying = [key, ...values];
  const told = words(key, ...values);
  if (at("status").textContent !== told) at("status").textContent = told;
}

function show() {
  document.documentElement.lang = state.language;
  document.title = words("title");
  for (const one of document.querySelectorAll("[data-say]")) {
    one.textContent = words(one.dataset.say);
  }
  for (const one of document.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", words(one.dataset.label));
  }
  if (state.saying) say(...state.saying);
  showModel();
  showResult();
}

/** The name of a language in the page's own; its code where there is none. */
function languageName(code) {
  try {
    return new Intl.DisplayNames([state.language], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

function showModel() {
  const { manifest } = state;
  if (!manifest) return;
  const told = [
    manifest.trained_on ? words("trainedOn", manifest.trained_on) : words("trainedUnknown"),
    words("writes", languageName(manifest.language)),
  ];
  const lengths = manifest.trained_seconds;
  if (lengths) told.push(words("trainedLengths", lengths.clips, lengths.median, lengths.longest));
  at("trained").textContent = told.join(" ");
  at("text").lang = manifest.language;
  if (state.provider) at("about").textContent = words("about", manifest.version, state.provider);
}

function showResult() {
  const { result } = state;
  const one = result && !result.long ? result : null;
  const percent = (score) => Math.round(100 * Math.exp(score));
  let told = "";
  if (one) told = one.reason === null ? words("score", percent(one.score)) : words(one.reason);
  if (result?.long) told = words("found", state.sentences.length);
  at("text").textContent = one?.text ?? "";
  at("score").textContent = told;
  at("notes").replaceChildren(
    ...state.notes.map((note) => {
      const item = document.createElement("li");
      item.textContent = words(...note);
      return item;
    }),
  );
}

/** A sentence in the list; of a file its time leads to it in the video. */
function itemOf({ start, text, score }) {
  const item = document.createElement("li");
  const isFile = video.hasAttribute("src");
  const when = document.createElement(isFile ? "button" : "span");
  when.textContent = time(start).slice(0, 8);
  if (isFile) {
    when.type = "button";
    when.setAttribute("aria-label", words("jump", when.textContent));
    when.addEventListener("click", () => {
      if (state.busy) return;
      video.currentTime = start;
      video.play();
    });
  }
  const said = document.createElement("q");
  said.lang = state.manifest.language;
  said.textContent = text;
  const sure = document.createElement("small");
  sure.textContent = words("percent", Math.round(100 * Math.exp(score)));
  item.append(when, " ", said, " ", sure);
  return item;
}

function clearResult() {
  state.result = null;
  state.notes = [];
  state.sentences = [];
  at("sentences").replaceChildren();
  for (const track of video.textTracks) {
    for (const cue of [...(track.cues ?? [])]) track.removeCue(cue);
  }
  if (at("save").href) URL.revokeObjectURL(at("save").href);
  at("save").removeAttribute("href");
  at("save").hidden = true;
  showResult();
}

/** The sentences as subtitles: over the video, and to keep. */
function offerSubtitles() {
  const { sentences, manifest } = state;
  if (!sentences.length) return;
  if (video.hasAttribute("src")) {
    const track =
      video.textTracks[0] ?? video.addTextTrack("subtitles", words("subtitles"), manifest.language);
    track.mode = "showing"; // a new one is hidden
    for (const { start, end, text } of sentences) {
      const plain = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // else a tag
      track.addCue(new VTTCue(start, end, plain));
    }
  }
  const file = new Blob([subRip(sentences)], { type: "application/x-subrip" });
  at("save").href = URL.createObjectURL(file);
  at("save").hidden = false;
}

function enable() {
  const { busy } = state;
  document.body.dataset.state = busy ? "busy" : "idle";
  at("progress").hidden = !busy;
  at("cancel").hidden = !state.reading;
  const on = camera.stream !== null;
  at("file").disabled = busy || on;
  at("open").disabled = busy || on;
  at("start").disabled = busy || !on;
  at("stop").disabled = !camera.recording;
  at("close").disabled = !on;
  at("clear").disabled = busy || (!state.result && !video.hasAttribute("src"));
}

function forget() {
  if (video.hasAttribute("src")) { // else it shows the camera, which load() would stop
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load();
  }
  video.hidden = !camera.stream;
  video.controls = false;
  at("file").value = "";
  clearResult();
}

/** Run a piece of work, during which nothing else is begun. */
async function work(task) {
  state.busy = true;
  enable();
  try {
    await task();
  } catch (error) {
    if (error.message in WORDS.en) say(error.message);
    else say("failed", error.message);
  } finally {
    state.busy = false;
    at("progress").value = 0;
    enable();
  }
}

async function translate() {
  say("translating");
  state.result = await engine.finish();
  showResult();
  offerSubtitles();
  say("done");
}

async function translateFile(file) {
  forget();
  video.hidden = false;
  video.src = URL.createObjectURL(file);
  engine.begin();
  const { signal } = (state.reading = new AbortController());
  enable();
  try {
    for await (const { picture, done, total } of framesOfFile(video, state.manifest.frame_share)) {
      if (signal.aborted) break;
      at("progress").value = done / total;
      say("reading", 10 * Math.round((10 * done) / total)); // seldom: it is read aloud
      await engine.room();
      engine.send(picture);
    }
  } finally {
    state.reading = null;
    enable();
  }
  if (signal.aborted) {
    await engine.drop();
    forget();
    throw new Error("cancelled");
  }
  await translate();
  video.currentTime = 0;
  video.controls = true;
}

let lock = null;

async function stayAwake() {
  if (!camera.recording || document.visibilityState !== "visible") return;
  const granted = await navigator.wakeLock?.request("screen").catch(() => null);
  lock?.release();
  lock = granted;
  if (!camera.recording) lock?.release();
}

async function record() {
  clearResult();
  const { frame_share: share } = state.manifest;
  engine.begin();
  let sent = 0;
  let dropped = 0;
  const stopped = new Promise((done, fail) => {
    at("stop").addEventListener("click", done, { once: true });
    camera.onEnd = done;
    camera.record(share, (picture) => {
      if (engine.busy) {
        dropped += 1;
        return;
      }
      try {
        engine.send(new ImageData(picture.data.slice(), picture.width, picture.height));
      } catch (error) {
        fail(error);
        return;
      }
      sent += 1;
      at("timer").textContent = words("seconds", Math.floor(sent / (GRID * share)));
    });
  });
  stayAwake();
  enable();
  say("recording");
  at("stop").focus();
  try {
    await stopped;
  } finally {
    camera.stop();
    at("timer").textContent = "";
    lock?.release();
    enable();
  }
  if (dropped) state.notes.push(["dropped", dropped]);
  await translate();
}

at("language").addEventListener("change", (event) => {
  state.language = event.target.value;
  show();
});
at("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) work(() => translateFile(file));
});
at("cancel").addEventListener("click", () => state.reading?.abort());
at("clear").addEventListener("click", () => {
  forget();
  say("ready");
  enable();
  at("file").focus();
});
at("open").addEventListener("click", () =>
  work(async () => {
    forget();
    try {
      video.hidden = false;
      await camera.open();
    } catch {
      camera.close();
      video.hidden = true;
      throw new Error("noCamera");
    }
    say("cameraOn");
  }).then(() => at("start").focus()),
);
at("start").addEventListener("click", () => work(record).then(() => at("start").focus()));
at("close").addEventListener("click", () => {
  camera.onEnd?.();
  camera.close();
  video.hidden = true;
  say("ready");
  enable();
});

document.addEventListener("visibilitychange", stayAwake); // a hidden page has lost its lock
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && !at("file").disabled) work(() => translateFile(file));
});

async function begin() {
  state.language = navigator.language.startsWith("de") ? "de" : "en";
  at("language").value = state.language;
  show();
  say("loading", 0);
  state.manifest = await (await fetch("model/manifest.json")).json();
  showModel();
  const webgpu = state.manifest.runtime.webgpu && Boolean(await navigator.gpu?.requestAdapter());
  const { provider } = await engine.start(webgpu);
  state.provider = provider;
  showModel();
  say("ready");
}

begin().then(
  () => work(async () => {}),
  (error) => say("failed", error.message),
);
