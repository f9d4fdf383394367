import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followWhileVisible } from "../src/shell/live";
import { Dialog } from "../src/ui/dialog";

afterEach(cleanup);

describe("a dialog", () => {
  const dialog = () => screen.getByRole("dialog", { hidden: true });
  const clickBeside = (downOn: Element) => {
    fireEvent.pointerDown(downOn);
    fireEvent.click(dialog());
  };
  function shown(onClose: () => void, bare = false) {
    HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) { this.open = true; };
    render(<Dialog open onClose={onClose} title="Story" bare={bare}><input aria-label="Title" /></Dialog>);
  }

  it("closes by a click beside it, but not by a selection of text that ends there", () => {
    const onClose = vi.fn();
    shown(onClose);
    clickBeside(screen.getByLabelText("Title"));
    expect(onClose).not.toHaveBeenCalled();
    clickBeside(dialog());
    expect(onClose).toHaveBeenCalledTimes(1);
  });

  it("that holds what someone wrote does not close by a click beside it", () => {
    const onClose = vi.fn();
    shown(onClose);
    fireEvent.input(screen.getByLabelText("Title"), { target: { value: "x" } });
    clickBeside(dialog());
    expect(onClose).not.toHaveBeenCalled();
  });
});

describe("the stream of a tab", () => {
  let visibility: DocumentVisibilityState = "visible";
  const turn = (next: DocumentVisibilityState) => {
    visibility = next;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  beforeEach(() => {
    vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visibility);
    visibility = "visible";
  });

  it("is closed while nobody looks, and goes on where it was", async () => {
    const asked: (string | null)[] = [];
    const signals: AbortSignal[] = [];
    const stop = followWhileVisible((signal) => ({
      open: async (id) => {
        asked.push(id);
        signals.push(signal);
        return new Response(new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode("id: e:4\n\n")) }));
      },
      onMessage: () => undefined,
    }));
    await vi.waitFor(() => expect(asked).toEqual([null]));
    await new Promise((resolve) => setImmediate(resolve));
    turn("hidden");
    expect(signals[0]?.aborted).toBe(true);
    turn("visible");
    await vi.waitFor(() => expect(asked).toEqual([null, "e:4"]));
    stop();
    expect(signals[1]?.aborted).toBe(true);
  });

  it("of a tab that opens in the background waits until someone looks", async () => {
    visibility = "hidden";
    const open = vi.fn(async () => new Response(new ReadableStream()));
    const stop = followWhileVisible(() => ({ open, onMessage: () => undefined }));
    expect(open).not.toHaveBeenCalled();
    turn("visible");
    await vi.waitFor(() => expect(open).toHaveBeenCalledTimes(1));
    stop();
  });
});
