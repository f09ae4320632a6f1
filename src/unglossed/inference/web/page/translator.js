// The model: three networks that onnxruntime runs, and the search for a text. Knows no page.

import { Emptiness } from "./emptiness.js";
import { fields, view } from "./pixels.js";
import { search } from "./search.js";
import { MotionCutter } from "./sentences.js";

const GRID = 25; // frames a second that models are trained at
const AT_ONCE = 8; // frames that go through the backbone together
const CLOSE = 1e-3; // of vectors, as a share of the largest
const CLOSE_SCORES = 0.25; // of log-probabilities: roundings to 8 bits may tip

/** Read a file of the model as it arrives; `onBytes` is told of each part. */
async function load(address, onBytes) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.pathname}: ${answer.status}`);
  const parts = [];
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The text of token ids: the bytes of each in a row. */
export function join(tokens, ids) {
  const bytes = ids.flatMap((id) => Array.from(tokens[id] ?? "", (one) => one.charCodeAt(0)));
  return new TextDecoder().decode(Uint8Array.from(bytes)).trim();
}

/** Pictures that Python computes, too, for comparing: (count, side, side, 3). */
export function pictures(count, side) {
  const made = new Uint8Array(count * side * side * 3);
  let at = 0;
  for (let number = 0; number < count; number++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        for (let colour = 0; colour < 3; colour++) {
          made[at++] = (17 * number + 5 * row + 3 * column + 40 * colour) % 256;
        }
      }
    }
  }
  return made;
}

export class Translator {
  /** Use `Translator.load`. */
  constructor(ort, manifest, tokens, networks) {
    Object.assign(this, { ort, manifest, tokens, ...networks });
  }

  /**
   * Load a model and compare what it computes here with what it computed when it was exported.
   *
   * @param {object} ort onnxruntime-web.
   * @param {URL} folder The folder `model/`.
   * @param {function(number)} onProgress Told the share loaded, 0 to 1.
   * @param {object?} gpu Another onnxruntime-web, which reads frames with WebGPU if it can. It lacks
   *   operators that the language model needs.
   */
  static async load(ort, folder, onProgress, gpu = null) {
    const manifest = await (await fetch(new URL("manifest.json", folder))).json();
    const total = Object.values(manifest.files).reduce((sum, size) => sum + size, 0);
    let loaded = 0;
    const bytes = (name) =>
      load(new URL(name, folder), (count) => {
        loaded += count;
        onProgress(Math.min(1, loaded / total));
      });
    const [frames, clip, text, tokens] = await Promise.all(
      ["frames.onnx", "clip.onnx", "text.onnx", "tokens.json"].map(bytes),
    );
    const open = (network, provider = "wasm", runtime = ort) =>
      runtime.InferenceSession.create(network, { executionProviders: [provider] });
    const networks = { clip: await open(clip), text: await open(text) };
    const table = JSON.parse(new TextDecoder().decode(tokens));
    const made = async (provider, runtime) => {
      const reader = { provider, runtime, frames: await open(frames, provider, runtime) };
      const translator = new Translator(ort, manifest, table, { ...networks, ...reader });
      await translator.compare();
      return translator;
    };
    if (gpu) {
      try {
        return await made("webgpu", gpu);
      } catch (error) {
        console.warn(`WebGPU is not used: ${error.message}`);
      }
    }
    return made("wasm", ort);
  }

  /** Throws unless the networks give here the numbers that they gave when they were exported. */
  async compare() {
    const { probe, crop, search: settings } = this.manifest;
    const vectors = await this.readFrames(pictures(probe.frames, crop), probe.frames);
    const last = vectors.subarray(vectors.length - vectors.length / probe.frames);
    const most = probe.vectors.reduce((one, other) => Math.max(one, Math.abs(other)), 1e-6);
    const near = (found, told, by) => Math.abs(found - told) <= by; // false of NaN
    if (!probe.vectors.every((told, at) => near(last[at], told, CLOSE * most))) {
      throw new Error("the backbone computes other numbers here than where it was exported");
    }
    const step = await this.stepOf(vectors, probe.frames);
    const scores = await step([[...settings.start]], [0]);
    if (!probe.tokens.every((id, at) => near(scores[id], probe.scores[at], CLOSE_SCORES))) {
      throw new Error("the language model computes other numbers here than where it was exported");
    }
  }

  /**
   * Vectors, (count, dim) in a row, of frames.
   *
   * @param {Uint8Array} pixels (count, crop, crop, 3).
   * @param {number} count
   * @param {Uint8Array?} before (crop, crop, 3) the frame before them; without one they begin.
   */
  async readFrames(pixels, count, before = null) {
    const { crop, motion } = this.manifest;
    let [seen, rows] = [pixels, count];
    if (motion) {
      const size = pixels.length / count;
      seen = new Uint8Array(pixels.length + size);
      seen.set(before ?? pixels.subarray(0, size));
      seen.set(pixels, size);
      rows += 1;
    }
    const frames = new this.runtime.Tensor("uint8", seen, [rows, crop, crop, 3]);
    const { vectors } = await this.frames.run({ frames });
    const data = vectors.data.slice();
    vectors.dispose();
    return data;
  }

  /** A step of the search for the text of a clip, see `search`. */
  async stepOf(vectors, count) {
    const { Tensor } = this.ort;
    const clip = new Tensor("float32", vectors, [count, vectors.length / count]);
    const read = await this.clip.run({ vectors: clip });
    const layers = Object.keys(read).length;
    const cross = {};
    let past = {};
    for (let at = 0; at < layers; at++) {
      const one = read[`cross.${at}`];
      cross[`cross.${at}`] = one;
      const [, heads, , width] = one.dims;
      past[`past.${at}`] = new Tensor("float32", new Float32Array(0), [1, heads, 0, width]);
    }
    const whole = (values, dims) =>
      new Tensor("int64", BigInt64Array.from(values, (value) => BigInt(value)), dims);
    return async (rows, order) => {
      const ids = whole(rows.flat(), [rows.length, rows[0].length]);
      const found = await this.text.run({ ids, order: whole(order, [rows.length]), ...past, ...cross });
      past = {};
      for (let at = 0; at < layers; at++) past[`past.${at}`] = found[`present.${at}`];
      return found.scores.data;
    };
  }

  /** The text of a clip, from the vectors of its frames (dim,). */
  async write(rows) {
    const vectors = new Float32Array(rows.length * rows[0].length);
    rows.forEach((row, at) => vectors.set(row, at * row.length));
    const step = await this.stepOf(vectors, rows.length);
    const { tokens, score } = await search(step, this.manifest.search);
    return { text: join(this.tokens, tokens), score };
  }

  /** A recording to translate; frames are added as they come. */
  begin(onSentence) {
    return new Recording(this, onSentence);
  }
}

/**
 * Frames of a clip that is one sentence, or of a longer recording, which is cut where nothing moves.
 *
 * Which of the two it is shows when it grows longer than what the model can take for one sentence.
 * Vectors are held for that long, or until no sentence can need them any more.
 */
export class Recording {
  /** @param {function(object)} onSentence Told each sentence of a long recording as it ends. */
  constructor(translator, onSentence) {
    const { frame_share: share, longest_frames: longest } = translator.manifest;
    this.translator = translator;
    this.onSentence = onSentence;
    this.emptiness = new Emptiness();
    this.rate = GRID * share;
    this.longest = longest;
    this.cutter = new MotionCutter(this.rate, longest / this.rate);
    this.views = []; // that no vector is made of yet
    this.before = null; // the last one before them
    this.vectors = [];
    this.first = 0; // position of the first of them
    this.spans = []; // found and not translated
    this.count = 0;
  }

  /** Whether it is more than one sentence. */
  get isLong() {
    return this.count > this.longest;
  }

  /** Add a frame: (height, width, 4) RGBA. */
  async add(data, width, height) {
    const { resize, crop } = this.translator.manifest;
    const seen = view(data, width, height, resize, crop);
    if (!this.isLong) this.emptiness.add(fields(data, width, height));
    this.views.push(seen);
    this.count += 1;
    this.spans.push(...this.cutter.push(seen, crop));
    if (this.views.length === AT_ONCE) await this.flush();
    if (this.isLong) await this.tell();
  }

  async flush() {
    const count = this.views.length;
    if (!count) return;
    const pixels = new Uint8Array(count * this.views[0].length);
    this.views.forEach((one, at) => pixels.set(one, at * one.length));
    const last = this.views.at(-1);
    this.views = [];
    const found = await this.translator.readFrames(pixels, count, this.before);
    this.before = last;
    const size = found.length / count;
    for (let at = 0; at < count; at++) this.vectors.push(found.slice(at * size, (at + 1) * size));
  }

  /** Translate the sentences that were found, and let go what is done with. */
  async tell() {
    for (const [begin, end] of this.spans.splice(0)) {
      await this.flush();
      const rows = this.vectors.slice(begin - this.first, end - this.first);
      const found = await this.translator.write(rows);
      this.onSentence({ start: begin / this.rate, end: end / this.rate, ...found });
    }
    const gone = Math.min(this.cutter.needed - this.first, this.vectors.length);
    this.vectors.splice(0, gone);
    this.first += gone;
  }

  /**
   * Translate what was added.
   *
   * @returns {Promise<{long: boolean, frames: number, reason?: string|null, text?: string,
   *   score?: number}>} Of one sentence its text, or the `reason` why there is none.
   */
  async finish() {
    const { count: frames, isLong: long } = this;
    if (long) {
      this.spans.push(...this.cutter.finish());
      await this.tell();
      return { long, frames };
    }
    const reason = frames ? this.emptiness.reason() : "no_frame";
    if (reason !== null) return { long, frames, reason, text: "", score: null };
    await this.flush();
    return { long, frames, reason, ...(await this.translator.write(this.vectors)) };
  }
}
