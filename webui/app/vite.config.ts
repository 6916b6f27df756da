import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The bundle goes into the Go server, which embeds it. Nothing is inlined: the policy allows no inline script or style.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    cssCodeSplit: true,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 700,
  },
});
