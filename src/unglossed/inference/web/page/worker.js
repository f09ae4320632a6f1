// Computes beside the page, so that the page answers meanwhile. One recording at a time, in order.

import { Translator } from "./translator.js";

let translator = null;
let recording = null;
let queue = Promise.resolve();

async function load(file, base) {
  const runtime = await import(new URL(`runtime/${file}`, base).href);
  runtime.env.wasm.wasmPaths = new URL("runtime/", base).href;
  runtime.env.wasm.numThreads = 1;
  return runtime;
}

async function start({ base, webgpu }) {
  const ort = await load("ort.wasm.min.mjs", base);
  const gpu = webgpu ? await load("ort.webgpu.min.mjs", base).catch(() => null) : null;
  const onProgress = (share) => postMessage({ type: "loading", share });
  translator = await Translator.load(ort, new URL("model/", base), onProgress, gpu);
  postMessage({ type: "ready", provider: translator.provider });
}

const tasks = {
  start,
  begin() {
    recording = translator.begin((sentence) => postMessage({ type: "sentence", sentence }));
  },
  async frame({ data, width, height }) {
    await recording.add(new Uint8ClampedArray(data), width, height);
    postMessage({ type: "read" });
  },
  drop() {
    recording = null;
    postMessage({ type: "dropped" });
  },
  async finish() {
    postMessage({ type: "result", ...(await recording.finish()) });
    recording = null;
  },
};

addEventListener("message", ({ data }) => {
  queue = queue
    .then(() => tasks[data.type](data))
    .catch((error) => postMessage({ type: "failed", message: String(error.message ?? error) }));
});
