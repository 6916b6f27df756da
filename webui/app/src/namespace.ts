import { createContext, useContext } from "react";

export const NamespaceContext = createContext("default");

/** The namespace that the page is about. */
export const useNamespace = () => useContext(NamespaceContext);
