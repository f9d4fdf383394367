import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** Where `/api` is sent while developing: the mock server, or a running binary. */
const backend = process.env.SYNDARIX_BACKEND ?? "http://127.0.0.1:8787";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  server: { host: "127.0.0.1", proxy: { "/api": backend } },
  build: {
    target: ["chrome123", "firefox121", "safari17.5"],
    // The server's policy is `default-src 'self'`: nothing may be inlined as data: or as a script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: "index.html", "api-docs": "src/docs/main.ts" },
      output: {
        // The page at /docs is written by the server, which knows these two by name.
        entryFileNames: (chunk) => (chunk.name === "api-docs" ? "api-docs.js" : "assets/[name]-[hash].js"),
        assetFileNames: (asset) => (asset.names.includes("api-docs.css") ? "api-docs.css" : "assets/[name]-[hash][extname]"),
      },
    },
    chunkSizeWarningLimit: 600,
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}", "test/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
