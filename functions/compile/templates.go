package compile

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"path"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
)

//go:embed templates
var templateFiles embed.FS

// Templates implements source.Compiler.
func (f *Function) Templates(context.Context) ([]source.Template, error) {
	dirs, err := fs.ReadDir(templateFiles, "templates")
	if err != nil {
		return nil, errs.New(errs.Internal, "templates: %w", err)
	}
	var out []source.Template
	for _, d := range dirs {
		t, err := template(path.Join("templates", d.Name()))
		if err != nil {
			return nil, errs.New(errs.Internal, "template %s: %w", d.Name(), err)
		}
		out = append(out, t)
	}
	return out, nil
}

func template(dir string) (source.Template, error) {
	t := source.Template{Files: map[string]string{}}
	files, err := fs.ReadDir(templateFiles, dir)
	if err != nil {
		return t, err
	}
	for _, file := range files {
		b, err := fs.ReadFile(templateFiles, path.Join(dir, file.Name()))
		if err != nil {
			return t, err
		}
		if file.Name() == "template.json" {
			if err := json.Unmarshal(b, &t); err != nil {
				return t, err
			}
			continue
		}
		t.Files[file.Name()] = string(b)
	}
	return t, nil
}
