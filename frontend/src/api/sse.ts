/**
 * Server-sent events over `fetch`: the browser's EventSource cannot carry an Authorization header.
 * The parser is a pure state machine over text chunks, following the WHATWG event stream format.
 */

export interface SseMessage {
  event: string;
  data: string;
}

/** Larger than any event the server sends; a stream that exceeds it is not ours. */
const MAX_BUFFER_CHARS = 4_000_000;

export class SseParser {
  private buffer = "";
  private data: string[] = [];
  private event = "";
  private idSeen: string | null = null;
  /** Where the stream stands: the id of the last frame that had one, with or without data. */
  lastEventId: string | null = null;
  private sawCarriageReturn = false;
  private started = false;
  /** Reconnection delay the server asked for, in milliseconds. */
  retry: number | null = null;

  push(chunk: string): SseMessage[] {
    let text = chunk;
    if (!this.started && text.length > 0) {
      this.started = true;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    if (this.sawCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    if (text.length > 0) this.sawCarriageReturn = text.endsWith("\r");
    this.buffer += text;
    if (this.buffer.length > MAX_BUFFER_CHARS) throw new Error("event stream line too long");
    const lines = this.buffer.split(/\r\n|\n|\r/);
    this.buffer = lines.pop() ?? "";
    const messages: SseMessage[] = [];
    for (const line of lines) {
      const message = this.line(line);
      if (message) messages.push(message);
    }
    return messages;
  }

  private line(line: string): SseMessage | null {
    if (line === "") return this.dispatch();
    if (line.startsWith(":")) return null;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.idSeen = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  private dispatch(): SseMessage | null {
    const event = this.event || "message";
    const data = this.data.join("\n");
    const empty = this.data.length === 0 && this.event === "";
    this.data = [];
    this.event = "";
    this.lastEventId = this.idSeen;
    return empty ? null : { event, data };
  }
}

/** First retry is quick (a deploy), later ones back off; jitter keeps a crowd of tabs apart. */
export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 30_000;

export function backoffDelay(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  return Math.round(ceiling * (0.5 + random() * 0.5));
}

/** Where a stream stands; it outlives a connection, so that the next one goes on from there. */
export interface Place {
  id: string | null;
}

export interface StreamHandlers {
  open: (lastEventId: string | null) => Promise<Response>;
  onMessage: (message: SseMessage) => void;
  onStatus?: (status: "connecting" | "open" | "waiting") => void;
  /** Whatever was shown may be stale: the server cannot resume, or the stream begins without a place to resume from. */
  onReset?: () => void;
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The server sends a comment every 20 s; three silent periods mean that the line is dead. */
const SILENCE_MS = 60_000;

function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}

async function readWithDeadline(reader: ReadableStreamDefaultReader<Uint8Array>) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("event stream went silent")), SILENCE_MS);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** Hands on every message, and once without one for each piece of the stream: also an id alone is news. */
async function readAll(body: ReadableStream<Uint8Array>, signal: AbortSignal, take: (parser: SseParser, message: SseMessage | null) => void): Promise<void> {
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  const stop = () => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", stop);
  try {
    for (;;) {
      const { done, value } = await readWithDeadline(reader);
      if (done || signal.aborted) return;
      for (const message of parser.push(decoder.decode(value, { stream: true }))) take(parser, message);
      take(parser, null);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** Reads the stream until `signal` aborts, reconnecting with `Last-Event-ID`, from `place` if there is one. */
export async function followStream(handlers: StreamHandlers, signal: AbortSignal, place: Place = { id: null }): Promise<void> {
  const sleep = handlers.sleep ?? sleepFor;
  let attempt = 0;
  while (!signal.aborted) {
    let asked: number | null = null;
    handlers.onStatus?.("connecting");
    try {
      const from = place.id;
      const response = await handlers.open(from);
      if (!response.ok || !response.body) throw new Error(`event stream: HTTP ${response.status}`);
      handlers.onStatus?.("open");
      // What was loaded before this moment may have changed unseen.
      if (!from) handlers.onReset?.();
      await readAll(response.body, signal, (parser, message) => {
        attempt = 0;
        asked = parser.retry;
        if (message?.event === "reset") handlers.onReset?.();
        else if (message) handlers.onMessage(message);
        place.id = parser.lastEventId ?? place.id;
      });
    } catch {
      // Any failure to open or read is answered the same way: wait, then resume.
    }
    if (signal.aborted) return;
    handlers.onStatus?.("waiting");
    await sleep(asked ?? backoffDelay(attempt), signal);
    attempt += 1;
  }
}
