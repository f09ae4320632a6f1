// Sentences as a file of subtitles.

const two = (value) => String(value).padStart(2, "0");

/** 3725.5 seconds as 01:02:05,500. */
export function time(seconds) {
  const all = Math.round(1000 * seconds);
  const [hours, minutes, rest] = [all / 3600000, (all / 60000) % 60, (all / 1000) % 60];
  const thousandths = String(all % 1000).padStart(3, "0");
  return `${[hours, minutes, rest].map((one) => two(Math.floor(one))).join(":")},${thousandths}`;
}

/** SubRip; a line of a text that is empty would end it, and an arrow would be taken for times. */
export function subRip(sentences) {
  return sentences
    .filter(({ text }) => text.trim())
    .map(({ start, end, text }, at) => {
      const line = text.replace(/\s*\n\s*/g, "\n").replaceAll("-->", "→");
      return `${at + 1}\n${time(start)} --> ${time(end)}\n${line}\n`;
    })
    .join("\n");
}
