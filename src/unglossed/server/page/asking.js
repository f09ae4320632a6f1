// Requests to the server, with its token. The token lies in this tab and is gone with it.

const KEY = "unglossed.token";

let own = ""; // where the browser keeps nothing

/** An answer that is a refusal. */
export class Refusal extends Error {
  constructor(status, code, message, retry) {
    super(message);
    this.status = status;
    this.code = code;
    this.retry = retry;
  }
}

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? own;
  } catch {
    return own;
  }
}

export function setToken(value) {
  own = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch { /* it is not allowed to */ }
}

function headers() {
  return token() ? { authorization: `Bearer ${token()}` } : {};
}

function refusal(status, text, retry) {
  let told = {};
  try {
    told = JSON.parse(text).error ?? {};
  } catch { /* a proxy's own page */ }
  return new Refusal(status, told.code ?? `http_${status}`, told.message ?? `HTTP ${status}`, Number(retry) || 5);
}

/** Ask, and give the answer if it is none of a refusal. */
export async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers() });
  if (!answer.ok) throw refusal(answer.status, await answer.text(), answer.headers.get("retry-after"));
  return answer;
}

/** Send a file and be told the job; `told` hears which share has been sent. */
export function send(file, told, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("attention", "true");
    form.append("file", file, file.name);
    request.open("POST", "/v1/jobs");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => told(event.total ? event.loaded / event.total : 0);
    request.onload = () => {
      if (request.status === 202) done(JSON.parse(request.responseText));
      else failed(refusal(request.status, request.responseText, request.getResponseHeader("retry-after")));
    };
    request.onerror = () => failed(new TypeError("network"));
    request.onabort = () => failed(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) failed(new DOMException("aborted", "AbortError"));
    else request.send(form);
  });
}

/** The events of a job, one by one. */
export async function* events(job, signal) {
  const answer = await ask(`/v1/jobs/${job}/events`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const blocks = waiting.split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
    }
  }
}

/** End a job and have it forgotten, also while the page is left. */
export function forget(job) {
  return fetch(`/v1/jobs/${job}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}
