/** Lines added and removed. */
export function Delta({ additions, deletions }: { additions: number; deletions: number }) {
  return (
    <span className="shrink-0 font-mono text-2xs tabular">
      <span className="text-ok">+{additions}</span> <span className="text-bad">−{deletions}</span>
    </span>
  );
}
