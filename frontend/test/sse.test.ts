import { describe, expect, it, vi } from "vitest";
import { BACKOFF_MAX_MS, SseParser, backoffDelay, followStream, type SseMessage } from "../src/api/sse";

const WIRE = ': keep-alive\n\nevent: story.created\nid: e:1\ndata: {"a":1}\n\ndata: one\ndata: two\n\nid: e:2\nevent: run.delta\ndata:x\n\n';

function parse(chunks: string[]): SseMessage[] {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

describe("the event stream parser", () => {
  const whole = parse([WIRE]);

  it("reads events, ids, multi-line data and skips comments", () => {
    expect(whole).toEqual([
      { event: "story.created", data: '{"a":1}' },
      { event: "message", data: "one\ntwo" },
      { event: "run.delta", data: "x" },
    ]);
  });

  it("gives the same messages wherever the stream is cut", () => {
    for (let cut = 0; cut <= WIRE.length; cut += 1) expect(parse([WIRE.slice(0, cut), WIRE.slice(cut)])).toEqual(whole);
    expect(parse([...WIRE])).toEqual(whole);
  });

  it("accepts CR LF and lone CR line ends, also when cut between them", () => {
    for (const end of ["\r\n", "\r"]) {
      const wire = WIRE.replaceAll("\n", end);
      expect(parse([wire])).toEqual(whole);
      expect(parse([...wire])).toEqual(whole);
    }
  });

  it("drops a message that the stream ended in the middle of", () => {
    expect(parse(["data: half"])).toEqual([]);
  });

  it("remembers the reconnection time the server asks for, and no other", () => {
    const parser = new SseParser();
    parser.push("retry: 1500\nretry: soon\n\n");
    expect(parser.retry).toBe(1500);
  });

  it("knows where it stands after a frame that has an id and no data, and keeps it over frames that have none", () => {
    const parser = new SseParser();
    expect(parser.push("retry: 1000\nid: e:7\n\n")).toEqual([]);
    expect(parser.lastEventId).toBe("e:7");
    parser.push("event: run.delta\ndata: x\n\nid: e:8\ndata: cut");
    expect(parser.lastEventId).toBe("e:7");
  });

  it("refuses a line without end", () => {
    const parser = new SseParser();
    expect(() => parser.push("x".repeat(5_000_000))).toThrow(/too long/);
  });
});

describe("following a stream", () => {
  const stream = (text: string) => new Response(text, { status: 200 });

  /** Answers one connection after the other, then ends. */
  function follow(answers: (() => Response)[], place = { id: null as string | null }) {
    const stop = new AbortController();
    const seen = { asked: [] as (string | null)[], got: [] as string[], slept: [] as number[], onReset: vi.fn(), place };
    const open = async (id: string | null) => {
      seen.asked.push(id);
      const next = answers.shift();
      if (next) return next();
      stop.abort();
      throw new Error("over");
    };
    const done = followStream({ open, onMessage: (message) => seen.got.push(message.data), onReset: seen.onReset, sleep: async (ms) => void seen.slept.push(ms) }, stop.signal, place);
    return done.then(() => seen);
  }

  it("resumes with the last id, backs off, and tells of a reset", async () => {
    const seen = await follow([
      () => stream("id: e:1\ndata: a\n\nid: e:2\ndata: b\n\n"),
      () => new Response("busy", { status: 503 }),
      () => { throw new Error("no network"); },
      () => stream("event: reset\nid: e:9\ndata: {}\n\nid: e:10\ndata: c\n\n"),
    ]);
    expect(seen.got).toEqual(["a", "b", "c"]);
    expect(seen.asked).toEqual([null, "e:2", "e:2", "e:2", "e:10"]);
    // Once for the beginning, once for the reset.
    expect(seen.onReset).toHaveBeenCalledTimes(2);
    expect(seen.slept).toHaveLength(4);
  });

  it("resumes from the opening frame when no event came", async () => {
    const seen = await follow([() => stream("retry: 1000\nid: e:5\n\n"), () => stream("id: e:6\ndata: a\n\n")]);
    expect(seen.asked).toEqual([null, "e:5", "e:6"]);
    expect(seen.onReset).toHaveBeenCalledTimes(1);
    expect(seen.slept[0]).toBe(1000);
  });

  it("loads everything anew whenever it begins without a place, and only then", async () => {
    expect((await follow([() => stream(": hello\n\n"), () => stream(": hello\n\n")])).onReset).toHaveBeenCalledTimes(2);
    const resumed = await follow([() => stream("data: a\n\n")], { id: "e:3" });
    expect(resumed.onReset).not.toHaveBeenCalled();
    expect(resumed.place.id).toBe("e:3");
  });

  it("never waits longer than the cap, and never not at all", () => {
    for (let attempt = 0; attempt < 40; attempt += 1) {
      for (const random of [0, 0.5, 1]) {
        const delay = backoffDelay(attempt, () => random);
        expect(delay).toBeGreaterThanOrEqual(250);
        expect(delay).toBeLessThanOrEqual(BACKOFF_MAX_MS);
      }
    }
  });
});
