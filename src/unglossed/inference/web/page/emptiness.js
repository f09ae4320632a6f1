// Whether there is anything in a clip to translate: what is black, blank or still is not.
// Rules and numbers are those of Python's `unglossed.media.probe`.

const NO_MOTION = 1.5;
const MOST_PULSE = 8;
const MOST_CHANGES = 0.25;
const SAME = 0.25;
const NO_CONTRAST = 2;
const DARKEST = 4;

export class Emptiness {
  constructor() {
    this.frames = 0;
    this.changes = 0;
    this.contrast = 0;
  }

  /** Look at the fields of the next frame, see `fields` of pixels.js. */
  add(fields) {
    if (!this.frames) {
      this.darkest = fields.slice();
      this.brightest = fields.slice();
    } else {
      const moved = fields.some((value, at) => Math.abs(value - this.last[at]) > SAME);
      this.changes += moved ? 1 : 0;
    }
    let least = Infinity;
    let most = -Infinity;
    fields.forEach((value, at) => {
      least = Math.min(least, value);
      most = Math.max(most, value);
      this.darkest[at] = Math.min(this.darkest[at], value);
      this.brightest[at] = Math.max(this.brightest[at], value);
    });
    this.contrast = Math.max(this.contrast, most - least);
    this.last = fields;
    this.frames += 1;
  }

  /** "black", "blank", "one_frame" or "still"; null: there is something. */
  reason() {
    let swing = 0;
    this.brightest.forEach((value, at) => {
      swing = Math.max(swing, value - this.darkest[at]);
    });
    if (this.contrast > NO_CONTRAST && swing > MOST_PULSE) return null;
    if (this.contrast <= NO_CONTRAST) {
      return Math.max(...this.brightest) <= DARKEST ? "black" : "blank";
    }
    if (this.frames === 1) return "one_frame";
    const share = this.changes / (this.frames - 1);
    return swing > NO_MOTION && share > MOST_CHANGES ? null : "still";
  }
}
