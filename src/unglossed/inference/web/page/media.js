// Frames of a file or a camera, at the times at which the model reads them.

const GRID = 25; // frames a second that models are trained at
const FINEST = 1 / 120; // seconds between two frames that are told apart
const LONGEST = 30; // steps of these that a frame is looked for
const GAP = 0.25; // seconds that a frame is shown at most, as far as nothing is known
const PATIENCE = 500; // milliseconds in which a frame that was sought is shown
const PLACES = [0, 0.4, 0.7]; // shares of a video at which it is measured how long a frame is shown

let tells = typeof VideoFrame !== "undefined"; // whether the browser says when a frame begins

function once(target, name) {
  const heard = new AbortController();
  const { signal } = heard;
  return new Promise((done, fail) => {
    target.addEventListener(name, done, { signal });
    target.addEventListener("error", () => fail(new Error("unreadable")), { signal });
  }).finally(() => heard.abort());
}

/** When the frame that is shown begins; null where the browser does not tell. */
function frameTime(video) {
  try {
    const frame = new VideoFrame(video);
    const { timestamp } = frame;
    frame.close();
    return timestamp / 1e6;
  } catch {
    return null;
  }
}

/**
 * Seek, and wait until the frame is there: browsers tell "seeked" while the old one is still shown.
 *
 * @param {number} gap Seconds that a frame is shown at most; after a longer one the frame is waited
 *   for in vain, and taken all the same.
 * @returns {Promise<number|null>} When the frame begins.
 */
async function seek(video, seconds, gap = GAP) {
  const sought = once(video, "seeked");
  video.currentTime = seconds;
  await sought;
  if (!tells) {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return null;
  }
  const begin = performance.now();
  for (;;) {
    const shown = frameTime(video);
    const isDue = shown !== null && shown < seconds + 1e-3 && shown > seconds - gap;
    if (isDue || performance.now() - begin > PATIENCE) return shown;
    await new Promise((done) => setTimeout(done, 4));
  }
}

/** Half to even, as Python rounds. */
function round(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/** Seconds that most frames are shown; null if that cannot be told. */
async function frameSeconds(video, begin, end) {
  const steps = [];
  for (const share of PLACES) {
    const place = begin + share * (end - begin);
    const first = await seek(video, place);
    if (first === null) return null;
    for (let at = 1; at <= LONGEST && place + at * FINEST < end; at++) {
      const step = (await seek(video, place + at * FINEST)) - first;
      if (step > FINEST / 2) {
        steps.push(step);
        break;
      }
    }
  }
  steps.sort((one, other) => one - other);
  return steps.length ? steps[Math.floor(steps.length / 2)] : null;
}

/** When the frames of a video are read, of which the model sees one in 1 / share. */
export function readingTimes(begin, end, share) {
  const count = Math.max(1, round((end - begin) * GRID));
  const group = Math.round(1 / share);
  const times = [];
  for (let at = 0; at < count; at += group) times.push(begin + at / GRID);
  return times;
}

function drawer() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return (video) => {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    context.drawImage(video, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
}

/**
 * The frames of a file, each that is nearest to a time of the grid.
 *
 * @param {HTMLVideoElement} video Which is visible, and whose source is set.
 * @param {number} share Of the frames at 25 a second.
 * @yields {{picture: ImageData, done: number, total: number}} `total`: how many there are in all.
 */
export async function* framesOfFile(video, share) {
  if (video.readyState < 2) {
    const loaded = once(video, "loadeddata");
    video.play().catch(() => {}); // iOS loads no picture before
    await loaded;
    video.pause();
  }
  if (!video.videoWidth) throw new Error("unreadable");
  if (video.duration === Infinity) await seek(video, Number.MAX_SAFE_INTEGER); // of a recorder
  tells = typeof VideoFrame !== "undefined";
  let shown = await seek(video, video.duration);
  const playhead = video.currentTime;
  // Some WebKits tell where the playhead is, and Firefox tells seconds in place of microseconds.
  if (shown !== null && (Math.abs(shown - playhead) < 1e-5 || (shown < 1e-2 && playhead > GAP))) {
    tells = false;
    shown = null;
  }
  const begin = (await seek(video, 0)) ?? 0;
  const step = (await frameSeconds(video, begin, shown ?? video.duration)) ?? 1 / GRID;
  const last = shown ?? Math.max(begin, video.duration - step);
  const times = readingTimes(begin, last + step, share);
  const draw = drawer();
  for (const [at, time] of times.entries()) {
    // Half a frame later, the frame that is nearest is the one that is shown; a little less, so
    // that of two that are as near the earlier is.
    await seek(video, Math.min(time + step / 2 - step / 100, last + step / 2), 1.2 * step);
    yield { picture: draw(video), done: at + 1, total: times.length };
  }
}

/** The frames of a camera, until it is stopped. */
export class Camera {
  constructor(video) {
    this.video = video;
    this.stream = null;
  }

  async open() {
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 } },
    });
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  /** Hand each frame of the grid to `onFrame(picture)`, from now on. */
  record(share, onFrame) {
    const group = Math.round(1 / share) / GRID;
    const draw = drawer();
    const begin = performance.now();
    let next = 0;
    this.recording = true;
    const look = () => {
      if (!this.recording) return;
      const seconds = (performance.now() - begin) / 1000;
      if (seconds >= next) {
        const picture = draw(this.video);
        // Times that were missed get the frame too, so that signing keeps its speed; after a
        // longer gap, as of a hidden page, time goes on without it.
        const missed = Math.min(Math.floor((seconds - next) / group), Math.round(1 / group));
        for (let at = 0; at <= missed; at++) onFrame(picture);
        next += group * (Math.floor((seconds - next) / group) + 1);
      }
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(look);
      else setTimeout(look, 10);
    };
    look();
  }

  stop() {
    this.recording = false;
  }

  close() {
    this.stop();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.stream = null;
  }
}
