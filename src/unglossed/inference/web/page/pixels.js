// Frames as the model is given them: resized to a square, its centre cut out, as Python does it.

const SHRINK = 1.5;
const FIELDS = 16;

/**
 * For each place of a resized line the places that it is made of, and their weights.
 *
 * @param {number} from Length of the line.
 * @param {number} to Length that it gets.
 * @param {"area"|"linear"|"steps"} method Mean of what a place covers; between two centres; or
 *   between two, each held for its own width (how OpenCV enlarges what it would average down).
 * @returns {{places: Int32Array, weights: Float32Array}[]}
 */
export function taps(from, to, method) {
  const scale = from / to;
  const made = [];
  for (let at = 0; at < to; at++) {
    const places = [];
    const weights = [];
    if (method === "area") {
      const begin = at * scale;
      const end = Math.min(begin + scale, from);
      for (let place = Math.floor(begin + 1e-6); place < end - 1e-6; place++) {
        const share = Math.min(end, place + 1) - Math.max(begin, place);
        places.push(Math.min(place, from - 1));
        weights.push(share / (end - begin));
      }
    } else {
      let first;
      let share;
      if (method === "steps") {
        first = Math.floor(at * scale);
        share = at + 1 - (first + 1) / scale;
        share = share <= 0 ? 0 : share - Math.floor(share);
      } else {
        first = Math.floor((at + 0.5) * scale - 0.5);
        share = (at + 0.5) * scale - 0.5 - first;
      }
      for (const [place, weight] of [[first, 1 - share], [first + 1, share]]) {
        places.push(Math.max(0, Math.min(place, from - 1)));
        weights.push(weight);
      }
    }
    made.push({ places: Int32Array.from(places), weights: Float32Array.from(weights) });
  }
  return made;
}

/** Resize lines of `channels` numbers, of which `used`, to what the taps of rows and columns say. */
export function resample(data, width, channels, rows, columns, used) {
  const across = new Map();
  for (const { places } of rows) for (const row of places) across.set(row, null);
  for (const row of across.keys()) {
    const line = new Float32Array(columns.length * used);
    columns.forEach(({ places, weights }, column) => {
      for (let tap = 0; tap < places.length; tap++) {
        const at = (row * width + places[tap]) * channels;
        for (let channel = 0; channel < used; channel++) {
          line[column * used + channel] += weights[tap] * data[at + channel];
        }
      }
    });
    across.set(row, line);
  }
  const resized = new Float32Array(rows.length * columns.length * used);
  rows.forEach(({ places, weights }, row) => {
    const begin = row * columns.length * used;
    for (let tap = 0; tap < places.length; tap++) {
      const line = across.get(places[tap]);
      for (let at = 0; at < line.length; at++) resized[begin + at] += weights[tap] * line[at];
    }
  });
  return resized;
}

/**
 * The square view of a frame.
 *
 * @param {Uint8ClampedArray} data (height, width, 4) RGBA.
 * @param {number} width Of the frame.
 * @param {number} height Of the frame.
 * @param {number} resize Side of the square that the whole frame becomes; proportions are not kept.
 * @param {number} crop Side of what is cut out of its centre.
 * @returns {Uint8Array} (crop, crop, 3) RGB.
 */
export function view(data, width, height, resize, crop) {
  const edge = Math.floor((resize - crop) / 2);
  const shrinks = Math.max(height, width) / resize > SHRINK;
  let method = "linear";
  if (shrinks) method = Math.min(height, width) >= resize ? "area" : "steps";
  const kept = (from) => taps(from, resize, method).slice(edge, edge + crop);
  const resized = resample(data, width, 4, kept(height), kept(width), 3);
  return Uint8Array.from(resized, (value) => Math.max(0, Math.min(255, Math.round(value))));
}

/** Mean brightness, 0 to 255, of the fields of a frame (height, width, 4): 16 x 16 of them. */
export function fields(data, width, height) {
  const grey = new Uint8Array(width * height);
  for (let at = 0, from = 0; at < grey.length; at++, from += 4) {
    grey[at] = (data[from] * 9798 + data[from + 1] * 19235 + data[from + 2] * 3735 + 16384) >> 15;
  }
  const rows = taps(height, Math.min(FIELDS, height), "area");
  const columns = taps(width, Math.min(FIELDS, width), "area");
  return resample(grey, width, 1, rows, columns, 1);
}
