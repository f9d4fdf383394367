import { createContext, useContext } from "react";

/** Where menus are drawn. Inside a modal it is the modal itself: everything outside of it is inert. */
const Host = createContext<HTMLElement | null>(null);

export const PortalHost = Host.Provider;

export function usePortalHost(): HTMLElement | null {
  return useContext(Host);
}
