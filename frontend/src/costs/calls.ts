/** Whether this can be the id of a call: what is no UUID the server would refuse. */
export function isCallId(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}
