// Where sentences begin and end in a long video: by how much of the picture moves, as in Python.

import { taps, resample } from "./pixels.js";

const SIDE = 24; // pixels along each side of the pictures whose differences are motion
const MEMORY_SECONDS = 120; // how far back motion is compared
const FIRST_SECONDS = 4; // of motion that is looked at before the first sentence is found in it
const SHORTEST_SECONDS = 0.8; // of motion that is taken for a sentence
const PAUSE_SECONDS = 0.3; // a sentence goes on behind a shorter pause
const TWO_KINDS = 2.5; // by how much more signing moves than resting, at least
const FIXED_SHARE = 0.12; // of a picture's contrast: motion between resting and signing

/** From how likely a sentence is at each position to where sentences begin and end. */
export class SpanFinder {
  /** @param {number} seconds Between two positions. @param {number} longest Of a sentence. */
  constructor(seconds, longest) {
    this.pause = Math.max(1, Math.round(PAUSE_SECONDS / seconds));
    this.shortest = Math.max(1, Math.round(SHORTEST_SECONDS / seconds));
    this.longest = Math.max(2, Math.floor(longest / seconds));
    this.opened = null;
    this.place = 0;
    this.last = 0; // position behind the last one that was inside
    this.shares = []; // since the sentence was opened
  }

  /** Take in the next position; gives the sentences that it ends, [first, behind the last] each. */
  push(inside) {
    if (inside >= 0.5) {
      if (this.opened === null) {
        this.opened = this.place;
        this.shares = [];
      }
      this.last = this.place + 1;
    }
    this.place += 1;
    if (this.opened === null) return [];
    this.shares.push(inside);
    if (this.place - this.last >= this.pause) return this.finish();
    return this.shares.length >= this.longest ? this.cut() : [];
  }

  /** The sentence that has not ended, if any. */
  finish() {
    if (this.opened === null) return [];
    const span = [this.opened, this.last];
    this.opened = null;
    return span[1] - span[0] >= this.shortest ? [span] : [];
  }

  /** Cut where the share is the least in the second half. */
  cut() {
    const half = Math.floor(this.shares.length / 2);
    let least = half;
    for (let at = half; at < this.shares.length; at++) {
      if (this.shares[at] < this.shares[least]) least = at;
    }
    const span = [this.opened, this.opened + least];
    this.opened += least;
    this.shares = this.shares.slice(least);
    return [span];
  }
}

/** What is little motion and what is much: Otsu's threshold of the logarithms. */
export function thresholdOf(energies, contrast) {
  const fixed = Math.max(FIXED_SHARE * contrast, 1e-6);
  const values = energies.map((one) => Math.log(Math.max(one, 1e-3))).sort((a, b) => a - b);
  const total = values.reduce((sum, one) => sum + one, 0);
  let best = null;
  let sum = 0;
  for (let count = 1; count < values.length; count++) {
    sum += values[count - 1];
    const apart = (total - sum) / (values.length - count) - sum / count;
    const between = count * (values.length - count) * apart ** 2;
    if (best === null || between > best.between) best = { between, apart, count };
  }
  if (best === null || best.apart < Math.log(TWO_KINDS)) return fixed;
  const middle = (values[best.count - 1] + values[best.count]) / 2;
  return Math.max(fixed / 2, Math.exp(middle));
}

/** Finds sentences in frames as they come. */
export class MotionCutter {
  /** @param {number} rate Frames a second. @param {number} longest Seconds of a sentence. */
  constructor(rate, longest) {
    this.finder = new SpanFinder(1 / rate, longest);
    this.first = Math.max(2, Math.round(FIRST_SECONDS * rate));
    this.memory = Math.round(MEMORY_SECONDS * rate);
    this.energies = [];
    this.contrast = 0;
    this.waiting = [];
    this.before = null;
  }

  /** Frames before this position belong to no sentence that is still to be told. */
  get needed() {
    return this.finder.opened ?? this.finder.place;
  }

  /** Take in a frame (side, side, 3) as the model sees it; gives the sentences that have ended. */
  push(view, side) {
    const grey = small(view, side);
    const mean = grey.reduce((sum, one) => sum + one, 0) / grey.length;
    const square = grey.reduce((sum, one) => sum + (one - mean) ** 2, 0) / grey.length;
    this.contrast = Math.sqrt(square);
    let change = 0;
    if (this.before !== null) {
      grey.forEach((one, at) => (change += Math.abs(one - this.before[at]) / grey.length));
      this.energies.push(change);
      if (this.energies.length > this.memory) this.energies.shift();
      const last = this.waiting.length - 1;
      this.waiting[last] = Math.max(this.waiting[last], change);
    }
    this.waiting.push(change);
    this.before = grey;
    // The newest frame is not judged before it is known what follows it.
    return this.energies.length >= this.first ? this.find(this.waiting.length - 1) : [];
  }

  /** The sentences that the end of the video ends. */
  finish() {
    return [...this.find(this.waiting.length), ...this.finder.finish()];
  }

  find(count) {
    const threshold = thresholdOf(this.energies, this.contrast);
    const judged = this.waiting.splice(0, count);
    return judged.flatMap((one) => this.finder.push(one / (one + threshold)));
  }
}

/** A small grey picture of a view (side, side, 3). */
function small(view, side) {
  const method = side >= SIDE ? "area" : "steps";
  const lines = taps(side, SIDE, method);
  const coloured = resample(view, side, 3, lines, lines, 3);
  const grey = new Float32Array(SIDE * SIDE);
  for (let at = 0; at < grey.length; at++) {
    const [red, green, blue] = coloured.subarray(3 * at, 3 * at + 3).map(Math.round);
    grey[at] = (red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15;
  }
  return grey;
}
