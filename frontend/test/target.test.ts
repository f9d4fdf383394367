// @vitest-environment node
import { describe, expect, it } from "vitest";
import { credentials } from "../e2e/target.mjs";

describe("what the demo prints", () => {
  const expected = { email: "demo@syndarix.localhost", password: "s3cret-Words.and-more" };
  for (const output of [
    "http://127.0.0.1:8080\nsign in as demo@syndarix.localhost with password s3cret-Words.and-more\n",
    "  Login:    demo@syndarix.localhost\n  Password: s3cret-Words.and-more\n",
    "Syndarix is at http://127.0.0.1:1234 (demo@syndarix.localhost / s3cret-Words.and-more)".replace(")", " )"),
    '{"email":"demo@syndarix.localhost","password":"s3cret-Words.and-more"}',
    "\u001B[1memail\u001B[0m demo@syndarix.localhost \u001B[1mpassword\u001B[0m s3cret-Words.and-more\n",
    "e-mail=demo@syndarix.localhost password=s3cret-Words.and-more",
  ]) {
    it(`is understood: ${JSON.stringify(output).slice(0, 60)}`, () => expect(credentials(output)).toEqual(expected));
  }
  it("is waited for until it is there", () => {
    expect(credentials("starting the database")).toBeNull();
    expect(credentials("demo@syndarix.localhost")).toBeNull();
  });
});
