// Computes beside the page, so that the page answers meanwhile. One clip at a time, in order.

import { Translator } from "./translator.js";

let translator = null;
let clip = null;
let queue = Promise.resolve();

async function start({ base, webgpu }) {
  const file = webgpu ? "runtime/ort.webgpu.min.mjs" : "runtime/ort.wasm.min.mjs";
  const ort = await import(new URL(file, base).href);
  ort.env.wasm.wasmPaths = new URL("runtime/", base).href;
  ort.env.wasm.numThreads = 1;
  const onProgress = (share) => postMessage({ type: "loading", share });
  const providers = webgpu ? ["webgpu", "wasm"] : ["wasm"];
  translator = await Translator.load(ort, new URL("model/", base), onProgress, providers);
  postMessage({ type: "ready", provider: translator.provider });
}

const tasks = {
  start,
  begin() {
    clip = translator.begin();
  },
  async frame({ data, width, height }) {
    await clip.add(new Uint8ClampedArray(data), width, height);
    postMessage({ type: "read", frames: clip.count });
  },
  async finish() {
    postMessage({ type: "result", ...(await clip.finish()) });
    clip = null;
  },
};

addEventListener("message", ({ data }) => {
  queue = queue
    .then(() => tasks[data.type](data))
    .catch((error) => postMessage({ type: "failed", message: String(error.message ?? error) }));
});
