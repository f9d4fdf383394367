/** Only a path of this application may follow a sign-in: never another host, never a script. */
export function safeNext(next: string | undefined): string {
  return next && /^\/(?![/\\])/.test(next) ? next : "/inbox";
}
