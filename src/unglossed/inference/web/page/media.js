// Frames of a file or a camera, at the times at which the model reads them.

const GRID = 25; // frames a second that models are trained at
const SOON = 500; // milliseconds in which a frame that was sought is shown
const PLAYED = 1500; // milliseconds of playing, at most, that tell how long a frame is shown
const STEPS = 12; // frames that are enough for it

const after = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function once(target, name) {
  const heard = new AbortController();
  const { signal } = heard;
  return new Promise((done, fail) => {
    target.addEventListener(name, done, { signal });
    target.addEventListener("error", () => fail(new Error("unreadable")), { signal });
  }).finally(() => heard.abort());
}

/** The own time of the frame that is shown next. */
function nextFrame(video) {
  if (!video.requestVideoFrameCallback) return Promise.resolve(null);
  return new Promise((done) => {
    video.requestVideoFrameCallback((_, { mediaTime }) => done(mediaTime));
  });
}

/** What is told soon; null if nothing is. */
const soon = (told) => Promise.race([told, after(SOON).then(() => null)]);

async function seek(video, seconds) {
  const sought = once(video, "seeked");
  video.currentTime = seconds;
  await sought;
}

/** Half to even, as Python rounds. */
function round(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/** Seconds that a frame is shown, from playing a little; null if that tells nothing. */
async function frameSeconds(video) {
  if (!video.requestVideoFrameCallback) return null;
  const steps = [];
  let last = null;
  let stop;
  const enough = new Promise((done) => (stop = done));
  const look = (_, { mediaTime, presentedFrames }) => {
    if (last !== null && presentedFrames === last.presentedFrames + 1 && mediaTime > last.mediaTime) {
      steps.push(mediaTime - last.mediaTime);
    }
    last = { mediaTime, presentedFrames };
    if (steps.length < STEPS) video.requestVideoFrameCallback(look);
    else stop();
  };
  video.requestVideoFrameCallback(look);
  video.muted = true;
  try {
    await video.play();
    await Promise.race([enough, once(video, "ended"), after(PLAYED)]);
  } catch {
    return null; // a browser that does not let it play
  } finally {
    video.pause();
  }
  steps.sort((one, other) => one - other);
  return steps.length ? steps[Math.floor((steps.length - 1) / 2)] : null;
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
  const first = nextFrame(video);
  if (video.readyState < 2) await once(video, "loadeddata");
  if (!video.videoWidth) throw new Error("unreadable");
  const begin = (await soon(first)) ?? 0;
  if (video.duration === Infinity) await seek(video, Number.MAX_SAFE_INTEGER); // of a recorder
  const step = (await frameSeconds(video)) ?? 1 / GRID;
  await seek(video, begin); // so that another frame than the last is shown
  const end = nextFrame(video);
  await seek(video, video.duration);
  const last = (await soon(end)) ?? Math.max(begin, video.duration - step);
  const times = readingTimes(begin, last + step, share);
  const draw = drawer();
  for (const [at, time] of times.entries()) {
    // Half a frame later, the frame that is nearest is the one that is shown; a little less, so
    // that of two that are as near the earlier is.
    await seek(video, Math.min(time + step / 2 - step / 100, last + step / 2));
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
