import { request } from "./client";

/** Saves an answer as a file; a plain link could not carry the access token. */
export async function download(path: string, fileName: string): Promise<void> {
  const blob = await (await request(path, { headers: { Accept: "*/*" } })).blob();
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName;
  link.click();
  // The browser has taken over the blob by then.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
