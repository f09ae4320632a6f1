// The screen stays on while something is at work.

let holders = 0;
let lock = null;

async function take() {
  if (!holders || lock || document.visibilityState !== "visible") return;
  try {
    const granted = await navigator.wakeLock?.request("screen");
    if (!granted) return;
    if (!holders || lock) { // what it was for has ended meanwhile
      granted.release().catch(() => {});
      return;
    }
    lock = granted;
    granted.addEventListener("release", () => { if (lock === granted) lock = null; });
    show();
  } catch { /* the battery is low, or the browser has none */ }
}

function show() {
  document.documentElement.dataset.awake = String(Boolean(lock));
}

/** Keep the screen on; gives what lets it go again. */
export function stayAwake() {
  let held = true;
  holders += 1;
  take();
  return () => {
    if (!held) return;
    held = false;
    holders -= 1;
    if (holders) return;
    lock?.release().catch(() => {});
    lock = null;
    show();
  };
}

document.addEventListener("visibilitychange", take);
