export function credentials(output: string): { email: string; password: string } | null;
