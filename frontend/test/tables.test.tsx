import { cleanup, render, screen, within } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ACTIONS, ACTS, TableFrame } from "../src/ui/page";

afterEach(cleanup);

/** A table that is so wide in a frame of 300 px. */
function show(width: number) {
  vi.spyOn(HTMLElement.prototype, "scrollWidth", "get").mockReturnValue(width);
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(300);
  render(<TableFrame label="Keys" heads={["Name", ACTIONS]}><tr><td>Nightly report</td><td className={ACTS}><button type="button">Revoke</button></td></tr></TableFrame>);
}

describe("a table on a narrow screen", () => {
  it("says that it scrolls sideways where it does, and only there", () => {
    show(700);
    expect(screen.getByText("Scroll sideways for more")).toBeTruthy();
    cleanup();
    show(300);
    expect(screen.queryByText("Scroll sideways for more")).toBeNull();
  });

  it("keeps what is done with a row in sight, with its head", () => {
    show(700);
    const table = within(screen.getByRole("region", { name: "Keys" }));
    for (const cell of [table.getByRole("columnheader", { name: "Actions" }), table.getByRole("button").closest("td")]) expect(cell?.className).toContain("max-md:sticky");
    expect(table.getByRole("columnheader", { name: "Name" }).className).not.toContain("sticky");
  });
});
