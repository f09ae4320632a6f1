// The search for a text: greedy, or with beams as transformers' generate ranks them.

const fround = Math.fround;

/** Places of the `count` largest numbers, largest first; the earlier of two that are equal. */
export function largest(values, count) {
  const places = [];
  let least = -Infinity;
  for (let place = 0; place < values.length; place++) {
    const value = values[place];
    if (places.length === count && !(value > least)) continue;
    let at = places.length;
    while (at > 0 && values[places[at - 1]] < value) at--;
    places.splice(at, 0, place);
    if (places.length > count) places.pop();
    if (places.length === count) least = values[places[count - 1]];
  }
  return places;
}

/** Scores of the next token where the settings leave no choice; else those of the model. */
function forced(scores, vocabulary, settings, length) {
  const { start, forced_begin: begin, forced_end: end, max_new_tokens: most } = settings;
  let only = null;
  if (begin != null && start.length + length === 1) only = [begin];
  if (end != null && length === most - 1) only = [end].flat();
  if (only === null) return scores;
  const changed = new Float32Array(scores.length).fill(-Infinity);
  for (let row = 0; row < scores.length; row += vocabulary) {
    for (const token of only) changed[row + token] = 0;
  }
  return changed;
}

/**
 * Search for a text.
 *
 * @param {function(number[][], number[]): Promise<Float32Array>} step Log-probabilities, (rows,
 *   vocabulary) in a row, of the token that follows; it is given the new tokens of each row, and
 *   which row of the step before each goes on from.
 * @param {object} settings `start`, `end`, `beams`, `max_new_tokens`, `length_penalty`,
 *   `early_stopping`, `forced_begin` and `forced_end`, as in the manifest.
 * @returns {Promise<{tokens: number[], score: number}>} The best text without its start, the end
 *   token included, and the mean log-probability of its tokens.
 */
export async function search(step, settings) {
  const found = await (settings.beams > 1 ? beamSearch : greedy)(step, settings);
  return { tokens: found.tokens, score: found.sum / found.tokens.length };
}

async function greedy(step, settings) {
  const ends = new Set(settings.end);
  const tokens = [];
  let sum = 0;
  let fed = [[...settings.start]];
  while (tokens.length < settings.max_new_tokens) {
    const told = await step(fed, [0]);
    const scores = forced(told, told.length, settings, tokens.length);
    const [token] = largest(scores, 1);
    tokens.push(token);
    sum += told[token];
    if (ends.has(token)) break;
    fed = [[token]];
  }
  return { tokens, sum };
}

async function beamSearch(step, settings) {
  const { beams: width, max_new_tokens: most, length_penalty: penalty } = settings;
  const ends = new Set(settings.end);
  const considered = Math.max(2, 1 + ends.size) * width;
  let running = [{ tokens: [], score: 0, sum: 0 }];
  let finished = []; // best first; `ranked` is what they are ranked by
  let fed = [[...settings.start]];
  let order = [0];
  for (let length = 1; ; length++) {
    const told = await step(fed, order);
    const vocabulary = told.length / running.length;
    const scores = forced(told, vocabulary, settings, length - 1);
    const sums = new Float32Array(scores.length);
    running.forEach((beam, row) => {
      const end = (row + 1) * vocabulary;
      for (let at = row * vocabulary; at < end; at++) sums[at] = scores[at] + beam.score;
    });
    const candidates = largest(sums, considered).map((place) => {
      const row = Math.floor(place / vocabulary);
      const token = place % vocabulary;
      const tokens = [...running[row].tokens, token];
      const ended = ends.has(token) || length === most;
      return { tokens, row, token, ended, score: sums[place], sum: running[row].sum + told[place] };
    });
    // Only the best may end a text; the others are there so that enough can go on.
    for (const one of candidates.slice(0, width)) {
      if (one.ended) finished.push({ ...one, ranked: fround(one.score / length ** penalty) });
    }
    finished.sort((one, other) => other.ranked - one.ranked); // stable: the earlier of two
    finished = finished.slice(0, width);
    running = candidates.filter((one) => !one.ended).slice(0, width);
    if (!running.length || isSettled(running[0], finished, length, settings)) return finished[0];
    fed = running.map((beam) => [beam.token]);
    order = running.map((beam) => beam.row);
  }
}

/** Whether no running beam can come among the best any more. */
function isSettled(best, finished, length, settings) {
  const { beams: width, max_new_tokens: most, length_penalty: penalty } = settings;
  if (finished.length < width) return false;
  if (settings.early_stopping === true) return true;
  const reached = settings.early_stopping === "never" && penalty > 0 ? most : length;
  return !(fround(best.score / reached ** penalty) > finished[width - 1].ranked);
}
