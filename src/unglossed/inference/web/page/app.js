// The page: what is shown, and what its buttons do.

import { Engine } from "./engine.js";
import { Camera, framesOfFile } from "./media.js";
import { WORDS } from "./words.js";

const GRID = 25;

const at = (id) => document.getElementById(id);
const video = at("video");
const state = { language: "en", saying: null, manifest: null, provider: null, busy: true, notes: [] };
const engine = new Engine((share) => {
  at("progress").value = share;
  say(share < 1 ? "loading" : "checking", Math.round(100 * share));
});
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

function showModel() {
  const { manifest } = state;
  if (!manifest) return;
  const name = new Intl.DisplayNames([state.language], { type: "language" });
  const told = [
    manifest.trained_on ? words("trainedOn", manifest.trained_on) : words("trainedUnknown"),
    words("writes", name.of(manifest.language) ?? manifest.language),
  ];
  const lengths = manifest.trained_seconds;
  if (lengths) told.push(words("trainedLengths", lengths.clips, lengths.median, lengths.longest));
  at("trained").textContent = told.join(" ");
  at("text").lang = manifest.language;
  if (state.provider) at("about").textContent = words("about", manifest.version, state.provider);
}

function showResult() {
  const { result } = state;
  at("text").textContent = result?.text ?? "";
  at("score").textContent = !result || result.reason !== null
    ? (result ? words(result.reason) : "")
    : words("score", Math.round(100 * Math.exp(result.score)));
  at("notes").replaceChildren(
    ...state.notes.map((note) => {
      const item = document.createElement("li");
      item.textContent = words(...note);
      return item;
    }),
  );
}

function enable() {
  const { busy } = state;
  document.body.dataset.state = busy ? "busy" : "idle";
  at("progress").hidden = !busy;
  const on = camera.stream !== null;
  at("file").disabled = busy || on;
  at("open").disabled = busy || on;
  at("start").disabled = busy || !on;
  at("stop").disabled = !camera.recording;
  at("close").disabled = !on;
  at("clear").disabled = busy || (!state.result && !video.hasAttribute("src"));
}

function forget() {
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
  video.hidden = !camera.stream;
  video.controls = false;
  state.result = null;
  state.notes = [];
  at("file").value = "";
  showResult();
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
  const { manifest, result } = state;
  const length = result.frames / (GRID * manifest.frame_share);
  const { trained_seconds: lengths, far_longer: far } = manifest;
  if (far !== null && length > far) {
    state.notes.push(["longer", length, Math.min(lengths.longest, lengths.limit)]);
  }
  showResult();
  say("done");
}

async function translateFile(file) {
  forget();
  video.hidden = false;
  video.src = URL.createObjectURL(file);
  const { frame_share: share, max_frames: most } = state.manifest;
  engine.begin();
  let sent = 0;
  for await (const { picture, done, total } of framesOfFile(video, share)) {
    at("progress").value = done / total;
    say("reading", Math.round((100 * done) / total));
    if (most !== null && sent === most) {
      state.notes.push(["cut", sent / (GRID * share)]);
      break;
    }
    await engine.room();
    engine.send(picture);
    sent += 1;
  }
  await translate();
  video.currentTime = 0;
  video.controls = true;
}

let lock = null;

async function record() {
  state.result = null;
  state.notes = [];
  showResult();
  const { frame_share: share, max_frames: most } = state.manifest;
  lock = await navigator.wakeLock?.request("screen").catch(() => null);
  engine.begin();
  let sent = 0;
  let dropped = 0;
  const stopped = new Promise((done, fail) => {
    at("stop").addEventListener("click", done, { once: true });
    camera.onEnd = done;
    camera.record(share, (picture) => {
      if (most !== null && sent === most) return done();
      if (engine.busy) {
        dropped += 1;
        return undefined;
      }
      try {
        const copy = new ImageData(picture.data.slice(), picture.width, picture.height);
        engine.send(copy);
      } catch (error) {
        return fail(error);
      }
      sent += 1;
      say("recording", Math.floor(sent / (GRID * share)));
      return undefined;
    });
  });
  enable();
  at("stop").focus();
  try {
    await stopped;
  } finally {
    camera.stop();
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
