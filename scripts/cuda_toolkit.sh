#!/usr/bin/env bash
# Installs nvcc and NVRTC 13.0 from the Python registry into a folder, without root; cuBLAS too with --cublas.
#   scripts/cuda_toolkit.sh [--cublas] [FOLDER]     (target/cuda, where build.rs looks, without FOLDER)
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(nvidia-cuda-{nvcc,crt,runtime,cccl,nvrtc}==13.0.* 'nvidia-nvvm==13.0.*')
folder=target/cuda
for argument in "$@"; do
    case $argument in
        --cublas) packages+=('nvidia-cublas==13.0.*') ;;
        -*) echo "usage: scripts/cuda_toolkit.sh [--cublas] [FOLDER]" >&2; exit 2 ;;
        *) folder=$argument ;;
    esac
done
python3 -m pip --version >/dev/null 2>&1 ||
    { echo "python3 with pip is needed (Debian: apt install python3-pip)" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
home=$folder/nvidia/cu13
python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$folder" "${packages[@]}"
chmod +x "$home"/bin/* "$home"/nvvm/bin/* # some versions of pip drop it

[ "$folder" != "$PWD/target/cuda" ] || touch build.rs # cargo does not watch what was not there at the last build

echo "installed in $home ($(du -sh "$home" | cut -f1)):"
"$home/bin/nvcc" --version | tail -n 2 | head -n 1
ls "$home"/lib | grep -E '^lib(nvrtc|cublasLt)\.so' || true
command -v "${NVCC_CCBIN:-c++}" >/dev/null || echo "nvcc also needs a C++ compiler (Debian: apt install g++)"
echo
echo "export CUDA_HOME=$home"
echo "export ESPALIER_CUDA_LIBS=$home/lib"
