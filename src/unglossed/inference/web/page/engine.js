// The worker that computes, seen from the page.

const MOST_WAITING = 8; // frames that are sent and not read yet

export class Engine {
  /**
   * @param {function(number)} onProgress Told the share of the model that is loaded.
   * @param {function(object)} onSentence Told each sentence of a long recording.
   */
  constructor(onProgress, onSentence) {
    this.onProgress = onProgress;
    this.onSentence = onSentence;
    this.waiting = 0;
    this.wakers = [];
    this.asked = null;
    // Made of a blob, the worker has the page's policy: it can ask nothing of another origin.
    const source = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address, { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.hear(data));
    this.worker.addEventListener("error", (event) => {
      this.hear({ type: "failed", message: event.message ?? "the worker does not start" });
    });
  }

  hear(told) {
    if (told.type === "loading") this.onProgress(told.share);
    if (told.type === "sentence") this.onSentence(told.sentence);
    if (told.type === "read") {
      this.waiting -= 1;
      this.wakers.splice(0).forEach((wake) => wake());
    }
    if (["ready", "result", "dropped"].includes(told.type)) this.asked?.done(told);
    if (told.type === "failed") {
      this.broken = new Error(told.message);
      this.waiting = 0;
      this.wakers.splice(0).forEach((wake) => wake());
      this.asked?.fail(this.broken);
    }
  }

  ask(message) {
    return new Promise((done, fail) => {
      this.asked = { done, fail };
      this.worker.postMessage(message);
    });
  }

  /** Load the model. */
  start(webgpu) {
    return this.ask({ type: "start", base: document.baseURI, webgpu });
  }

  begin() {
    this.broken = null;
    this.worker.postMessage({ type: "begin" });
  }

  /** Whether a frame would wait behind so many others that it had better be left out. */
  get busy() {
    return this.waiting >= MOST_WAITING;
  }

  /** Send a frame; its pixels are handed over and no longer there. */
  send({ data, width, height }) {
    if (this.broken) throw this.broken;
    this.waiting += 1;
    const { buffer } = data;
    this.worker.postMessage({ type: "frame", data: buffer, width, height }, [buffer]);
  }

  /** Wait until a frame can be sent without a queue growing. */
  async room() {
    while (this.busy) await new Promise((wake) => this.wakers.push(wake));
  }

  /** Forget what was sent. */
  drop() {
    return this.ask({ type: "drop" });
  }

  /** The translation of what was sent. */
  finish() {
    return this.ask({ type: "finish" });
  }
}
